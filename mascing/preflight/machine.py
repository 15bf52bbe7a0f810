"""Whether this machine has the processors, the GPUs and the memory that a run asks for."""

import os
from dataclasses import dataclass

from mascing.errors import ConfigError
from mascing.preflight.engine_memory import EngineMemory, engine_memory
from mascing.preflight.hardware import LARGEST_SHARE, gpus, memory, size_text
from mascing.prose import counted
from mascing.reachability import answers
from mascing.schemas.collection import CollectionConfig
from mascing.schemas.config import SPREAD, RunConfig


@dataclass(frozen=True)
class Machine:
    """What a run asks for and what is there, in words, with what is wrong with it."""

    engine: str
    wanted: str
    there: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def machine_for(config: RunConfig | CollectionConfig, weights: int | None) -> Machine:
    """Compare what ``config`` asks for with this machine; ``weights`` are the bytes of one loaded model, if known."""
    engine, wanted = engine_memory(config, weights), _wanted(config, weights)
    replies = f"{engine.name}: {engine.taken}, in each worker"
    if address := os.environ.get("RAY_ADDRESS"):
        return Machine(replies, wanted, f"the workers run on the Ray cluster at {address}, which is not looked at here")
    total, free = memory()
    there = f"{os.cpu_count()} CPUs, {size_text(free)} of {size_text(total)} memory free"
    if config.compute.num_gpus or config.model.device not in ("cpu", *SPREAD):
        there, problems, notes = _with_gpus(config, weights, engine, there)
        return Machine(replies, wanted, there, problems, notes)
    told = (
        f"{engine.taken}, in each of {_workers(config)}, and this machine has {size_text(total)} of memory, "
        f"{size_text(free)} of them free: lower compute.workers, set model.dtype to bfloat16, or take a larger machine"
    )
    if config.compute.workers * engine.least > total:
        return Machine(replies, wanted, there, problems=(told,))
    close = config.compute.workers * engine.most > LARGEST_SHARE * free
    return Machine(replies, wanted, there, notes=(told,) if close else ())


def refuse_silent_services() -> None:
    """Raise ConfigError if nothing answers where the environment says that Prefect's server or a Ray cluster is."""
    cluster = os.environ.get("RAY_ADDRESS", "")
    if "://" in cluster and not cluster.startswith("ray://"):
        raise ConfigError(
            f"RAY_ADDRESS {cluster} is no cluster to join: write it as host:port, the port that `ray start --head` "
            "printed (6379 by default), or unset it"
        )
    for variable, start in (("PREFECT_API_URL", "`prefect server start`"), ("RAY_ADDRESS", "`ray start --head`")):
        address = os.environ.get(variable)
        if address and not answers(address):
            shown = address.rpartition("@")[2]  # without a password
            raise ConfigError(f"nothing answers at {variable} {shown}: start it ({start}), correct or unset {variable}")


def _with_gpus(
    config: RunConfig | CollectionConfig, weights: int | None, engine: EngineMemory, there: str
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """What is there, the problems, and the notes."""
    found = gpus()
    smallest = min((size for _, size in found), default=0)
    there += f"; {len(found)} x {found[0][0]} with {size_text(smallest)}" if found else "; no GPU that torch can use"
    needed = config.compute.workers * config.compute.num_gpus
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if found and weights is not None:
        room = smallest * config.compute.num_gpus
        kept = smallest * engine.share
        problems, notes = _beside_vllm(weights, kept, room) if kept else _within(weights, room)
    if needed > len(found):
        lacking = (
            f"compute asks for {counted(needed, 'GPU')} ({_workers(config)} x "
            f"{config.compute.num_gpus:g}) and this machine has {len(found)}: lower compute.workers or "
            "compute.num_gpus, set model.device to cpu, or name a Ray cluster in RAY_ADDRESS"
        )
        problems = (lacking, *problems)
    return there, problems, notes


def _within(weights: int, room: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Problems and notes about ``weights`` in ``room`` on the GPUs of a worker, both in bytes."""
    of_them = f"the weights take {size_text(weights)}"
    if weights > room:
        told = (
            f"{of_them} and the GPUs of a worker have {size_text(round(room))} for them: set model.dtype to bfloat16, "
            "or model.device to auto and compute.num_gpus to more GPUs"
        )
        return (told,), ()
    if weights > LARGEST_SHARE * room:
        told = (
            f"{of_them} of the {size_text(round(room))} on the GPUs of a worker, which leaves little for replies: "
            "lower generation.batch_size if a worker runs out of memory"
        )
        return (), (told,)
    return (), ()


def _beside_vllm(weights: int, kept: float, room: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The same where vLLM keeps ``kept`` of the room, and the stages that need both load the weights into the rest."""
    of_them, mend = f"the weights take {size_text(weights)}", "set model.dtype to bfloat16, or take a larger GPU"
    if weights > kept:
        told = f"{of_them} and vLLM keeps {size_text(round(kept))} for them: raise engine.gpu_memory_utilization"
        return (f"{told}, {mend}",), ()
    if weights > room - kept:
        told = (
            f"{of_them} and beside vLLM {size_text(round(room - kept))} are left, too little for the stages that load "
            "the model by transformers as well: lower engine.gpu_memory_utilization"
        )
        return (), (f"{told}, {mend}",)
    return (), ()


def _wanted(config: RunConfig | CollectionConfig, weights: int | None) -> str:
    compute = config.compute
    reserved = f", {counted(compute.num_gpus, 'GPU')}" if compute.num_gpus else ""
    size = f"{size_text(weights)} of weights" if weights is not None else "weights of a size that is not known here"
    return f"{_workers(config)}, each {counted(compute.num_cpus, 'CPU')}{reserved} and {size} on {config.model.device}"


def _workers(config: RunConfig | CollectionConfig) -> str:
    return counted(config.compute.workers, "worker")
