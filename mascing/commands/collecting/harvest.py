"""`mascing harvest`: the routing of a model on many conversations, without labels."""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import filesize

from mascing.commands.options import DEFAULT_STORAGE, StorageOption, VerboseOption
from mascing.errors import ConfigError
from mascing.prose import counted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from mascing.schemas.collection import CollectionConfig
    from mascing.schemas.finished import Collected, TakenIn

_OPTIONS = {"keep", "layers", "spans", "device", "dtype"}
"""Those whose values the configuration checks."""
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


class EngineName(StrEnum):
    """What records."""

    TRANSFORMERS = "transformers"
    VLLM = "vllm"


def harvest(
    conversations: Annotated[str, typer.Argument(metavar="CONVERSATIONS", help="A file, a folder of files, or a URL.")],
    model: Annotated[str, typer.Option(metavar="MODEL", help="A folder, a hub id, or s3://bucket/folder.")],
    keep: Annotated[str, typer.Option(help="logits, selected (the ids of the experts), or counts (alone).")] = "logits",
    layers: Annotated[str, typer.Option(metavar="0,3-7", help="MoE layers, counted from 0; all by default.")] = "",
    spans: Annotated[
        str, typer.Option(metavar="A,B", help="Of question, prompt (up to the reply) and reply.")
    ] = "question,prompt",
    max_bytes: Annotated[str, typer.Option(metavar="50G", help="Stop once more bytes of traces are stored.")] = "",
    device: Annotated[str, typer.Option(help="Device of the model, such as cuda.")] = "cpu",
    dtype: Annotated[str, typer.Option(help="Data type of the model.")] = "bfloat16",
    engine: Annotated[EngineName, typer.Option(help="What records; vllm must be installed.")] = EngineName.TRANSFORMERS,
    workers: Annotated[int, typer.Option(min=1, help="Workers at most; each holds the model.")] = 1,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs of a worker; a part of one is possible.")] = 0,
    rows: Annotated[
        int,
        typer.Option(min=1, help="Conversations of a shard, about; half hold under 0.7 times as many, none over 4."),
    ] = 256,
    batch_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a batch, padding included.")] = 4096,
    storage: StorageOption = DEFAULT_STORAGE,
    verbose: VerboseOption = False,
) -> None:
    """Record which experts a model's routers prefer on conversations, in any number, without labels.

    Each worker holds the model and records one shard after another into Parquet; a shard is stored whole, so that a
    collection that was stopped goes on where it was, and one on more conversations records the new ones alone. How many
    bytes there will be is told after the first shards.

    Examples:

      mascing harvest prompts.jsonl --model ./olmoe --keep counts

      mascing harvest s3://bucket/chats --model Qwen/Qwen3-30B-A3B --device cuda --gpus 1 --workers 8 --max-bytes 500G
    """
    from mascing.commands.collecting.mistakes import refuse_mistakes, refuse_without_gpus, told_by_options
    from mascing.commands.line import run_shown, say_prose
    from mascing.flows.starting import Line
    from mascing.schemas.finished import Collected, TakenIn
    from mascing.storage.manifests import read_manifest
    from mascing.storage.object_storage import Storage

    config = _config(
        {
            "name": _name(conversations),
            "model": {"path": model, "device": device, "dtype": dtype},
            "conversations": conversations,
            "chosen": {"keep": keep, "layers": _numbers(layers), "spans": [name.strip() for name in spans.split(",")]},
            "harvest": {"rows_per_shard": rows, "batch_tokens": batch_tokens},
            "max_bytes": _bytes(max_bytes),
            "engine": {"kind": engine.value},
            "compute": {"workers": workers, "num_gpus": gpus},
        }
    )
    with told_by_options():
        refuse_mistakes(config)
    opened = Storage.open(storage)

    def flow() -> Collected:
        refuse_without_gpus(config)
        from mascing.flows.harvest import harvest

        return harvest(config, opened.url)

    def finished() -> Collected:
        from mascing.flows.finished_line import finished_collection

        return finished_collection(config, opened.url)

    with told_by_options():
        console, collected = run_shown(opened, Line(flow, finished, needs="collect"), verbose)
    taken = read_manifest(opened, collected.inputs["intake"], TakenIn)
    say_prose(console, _summary(taken, collected))
    say_prose(console, f"next: mascing traces show {opened.locate(collected.prefix)}")


def _summary(taken: "TakenIn", collected: "Collected") -> str:
    facts, shards = collected.facts, [shard for shard in collected.shards if shard.path is not None]
    size = sum(shard.bytes for shard in shards)
    aside = taken.rows_quarantined + collected.rows_quarantined
    return (
        f"recorded {facts.samples:,} of {taken.rows_in:,} conversations{f' ({aside:,} set aside)' if aside else ''}, "
        f"{facts.tokens:,} of their tokens, in {counted(len(shards), 'shard')} of {filesize.decimal(size)} together "
        f"({size / max(1, facts.tokens):,.0f} bytes a token)"
    )


def _config(values: dict[str, object]) -> "CollectionConfig":
    from pydantic import ValidationError

    from mascing.schemas.collection import CollectionConfig

    try:
        return CollectionConfig.model_validate(values)
    except ValidationError as error:
        told: dict[str, str] = {}
        for one in error.errors():  # the first of an option; others follow from it
            told.setdefault(_option(one), _told(one))
        raise ConfigError("; ".join(told.values())) from error


def _option(error: "ErrorDetails") -> str:
    """The option that is wrong, by its name on the command line."""
    return next((f"--{name}" for name in reversed(error["loc"]) if name in _OPTIONS), "mascing harvest")


def _told(error: "ErrorDetails") -> str:
    given = f" {error['input']!r}" if isinstance(error["input"], str) else ""
    said = error["msg"].removeprefix("Value error, ")
    return f"{_option(error)}{given}: {said[0].lower()}{said[1:]}"


def _name(conversations: str) -> str:
    """A name for the traces of these conversations, from the last part of their path."""
    stem = Path(conversations.rstrip("/")).name.split(".")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "conversations"


def _numbers(layers: str) -> list[int] | None:
    """The numbers of ``0,3-7``; None for all."""
    if not layers:
        return None
    numbers: list[int] = []
    for part in layers.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)  # longer ranges would fill the memory
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ConfigError(f"--layers {layers!r}: {part!r} is neither a number nor a range such as 3-7")
        numbers += range(int(match[1]), int(match[2] or match[1]) + 1)
    return numbers


def _bytes(size: str) -> int | None:
    """The bytes of ``50G``; None for any number."""
    if not size:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", size.strip().lower())
    if match is None:
        raise ConfigError(f"--max-bytes {size!r} is no size: write a number with K, M, G or T, such as 50G")
    return int(float(match[1]) * _UNITS[match[2]])
