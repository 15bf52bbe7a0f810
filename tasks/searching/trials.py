"""Trials of a search in rounds as units of the pool: a batch of conversations, each under a mask of its own.

Replies and routing are stored by what made them, and verdicts by the replies and the judge, as everywhere.
Shapes: T token, L MoE layer, E expert.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import PurePosixPath

import pyarrow as pa
import torch
from torch import Tensor

from mascing.circuits.active.trials import Trial
from mascing.circuits.method import Asked
from mascing.conversations.reply import Reply
from mascing.engines.generation import batches, complete_recorded, prompts_of
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec
from mascing.runs.readers import spec_of
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.engine_settings import TransformersEngine
from mascing.schemas.verdict import Outcome
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.object_storage import Storage
from mascing.tasks.replying import replies as stored_replies
from mascing.tasks.replying.replies import RepliesFolder, content_of
from mascing.tasks.replying.verdict_pieces import verdicts_on
from mascing.tasks.running.bisection import SetAside, Work
from mascing.tasks.running.isolation import Failed, surviving
from mascing.tasks.running.pieces import stored
from mascing.tasks.running.units import around
from mascing.tasks.searching.items import Item, Shared
from mascing.tasks.workers.worker import Worker

_Tried = tuple[Conversation, Mask]


@dataclass(frozen=True)
class Trials:
    """A batch of the trials that ``item`` asked for in the object ``asked``; they are stored at ``path``."""

    item: Item
    asked: str
    path: str
    numbers: tuple[int, ...]

    @property
    def name(self) -> str:
        """For logs."""
        return self.path

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int) -> "Trials":
        """These trials alone."""
        return replace(self, numbers=self.numbers[start:stop])


@dataclass(frozen=True)
class Heard:
    """The trials of a unit: where their routing is stored, and the outcome of each, None where there is no reply."""

    path: str
    numbers: tuple[int, ...]
    outcomes: tuple[Outcome | None, ...]


def to_bytes(asked: Asked) -> bytes:
    """What a search asked for, and its state, as one sealed object."""
    masks = candidate_files.to_bytes([Candidate("", {}, mask) for mask in asked.masks])
    row = {"places": list(asked.places), "masks": masks, "state": asked.state}
    large = pa.large_binary()
    schema = pa.schema([("places", pa.list_(pa.int64())), ("masks", large), ("state", large)])
    return parquet.to_bytes(pa.Table.from_pylist([row], schema=schema))


@lru_cache(maxsize=2)
def asked_in(storage: Storage, path: str) -> Asked:
    """Inverse of :func:`to_bytes`, of a stored object; raises DataError if it is damaged."""
    [row] = parquet.from_bytes(storage.read(path), path).to_pylist()
    masks = [candidate.mask for candidate in candidate_files.from_bytes(row["masks"])]
    return Asked(row["places"], masks, row["state"])


def units_of(worker: Worker, shared: Shared, item: Item, path: str) -> list[Trials]:
    """The trials that are asked for at ``path``, in the batches of a generation that does them all."""
    asked, config = asked_in(shared.storage, path), shared.config
    by_transformers = config.model_copy(update={"engine": TransformersEngine()})  # trials record their routing
    folder = PurePosixPath(RepliesFolder.of(by_transformers, shared.harvested.facts.checkpoint).path).name
    conversations = shared.conversations.here()
    rows = [conversations[place] for place in asked.places]
    prompts = prompts_of(worker.model(config.model), rows, config.generation)
    return [
        Trials(item, path, f"trials/{folder}/{_name(rows, asked.masks, numbers)}.parquet", tuple(numbers))
        for numbers in batches(prompts, config.generation.batch_size)
    ]


def try_out(worker: Worker, shared: Shared, work: Work[Trials]) -> Heard:
    """Have the trials of a unit made and judged, or find them stored; those of a probe are not kept."""
    unit, storage = work.unit, shared.storage
    asked = asked_in(storage, unit.asked)
    conversations = shared.conversations.here()
    trials = [(conversations[asked.places[number]], asked.masks[number]) for number in unit.numbers]

    def make() -> bytes:
        return _made(worker, shared, trials, work.set_aside)

    data = make() if work.probes else stored(storage, unit.path, make)
    replies = stored_replies.of_table(parquet.from_bytes(data, unit.path).drop_columns("z"))
    rows = [row for row, _ in trials]
    verdicts = verdicts_on(storage, shared.config, unit.path, rows, replies, work.set_aside)
    outcomes = (
        verdict.outcome if isinstance(reply, Reply) else None for verdict, reply in zip(verdicts, replies, strict=True)
    )
    return Heard(unit.path, unit.numbers, tuple(outcomes))


def trials_in(shared: Shared, heard: Sequence[Heard]) -> Iterator[tuple[int, Trial]]:
    """The trials of a round that have a reply, with their numbers; the routing of one unit stands in memory."""
    spec = spec_of(shared.harvested)
    for unit in heard:
        column = parquet.from_bytes(shared.storage.read(unit.path), unit.path)["z"]
        for number, outcome, data in zip(unit.numbers, unit.outcomes, column, strict=True):
            if outcome is not None:
                yield number, Trial(outcome, _routing(data.as_py(), spec))


def _made(worker: Worker, shared: Shared, trials: Sequence[_Tried], set_aside: SetAside) -> bytes:
    """A piece of replies with the routing beside each; a trial without a reply keeps the reason."""
    made = around(set_aside, trials, lambda some: surviving(partial(_complete, worker, shared), some))
    worker.count("replies", len(trials) - len(set_aside))
    routings = [b"" if isinstance(each, Failed) else each[1].contiguous().numpy().tobytes() for each in made]
    replies = [each if isinstance(each, Failed) else each[0] for each in made]
    table = stored_replies.to_table([row for row, _ in trials], replies)
    data = parquet.to_bytes(table.append_column("z", pa.array(routings, pa.large_binary())))
    worker.count("bytes", len(data))
    return data


def _complete(worker: Worker, shared: Shared, trials: Sequence[_Tried]) -> list[tuple[Reply, Tensor]]:
    loaded, generation = worker.model(shared.config.model), shared.config.generation
    prompts, masks = prompts_of(loaded, [row for row, _ in trials], generation), [mask for _, mask in trials]

    def complete(size: int) -> dict[int, tuple[Reply, Tensor]]:
        settings = generation.model_copy(update={"batch_size": size})
        made: dict[int, tuple[Reply, Tensor]] = {}
        for batch in complete_recorded(loaded, prompts, masks, settings, worker.count_batch):
            made |= batch
        return made

    made = worker.within_memory("trials", generation.batch_size, complete)
    return [made[number] for number in range(len(trials))]


def _routing(data: bytes, spec: RouterSpec) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.float16).view(-1, spec.n_layers, spec.n_experts)


def _name(rows: Sequence[Conversation], masks: Sequence[Mask], numbers: Sequence[int]) -> str:
    return fingerprint([[content_of(rows[number]), masks[number].digest] for number in numbers])
