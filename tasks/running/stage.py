"""How every stage runs: identity -> fingerprint -> finished? -> body -> commit."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from mascing.errors import ConflictError
from mascing.progress import Event, tell
from mascing.schemas.manifest import FORMAT_VERSION, Facts, Manifest, Shard, stage_prefix
from mascing.storage.fingerprint import fingerprint
from mascing.storage.lease import Holder, Lease
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.workers.tally import tallied

M = TypeVar("M", bound=Manifest)


class Placed(Protocol):
    """The prefix of a stage's output: of a manifest, or of a recipe that has not run yet."""

    @property
    def prefix(self) -> str:
        """``<stage>/<name>-<fingerprint>``."""


@dataclass(frozen=True)
class Part:
    """The part of another stage's output that a stage reads; ``content`` is a digest of it.

    A stage that reads a part is found again although the rest of that output has changed.
    """

    whole: Placed
    content: str

    @property
    def prefix(self) -> str:
        """The prefix of the whole output."""
        return self.whole.prefix


@dataclass(frozen=True)
class Recipe(Generic[M]):
    """The identity of a stage's output, known before any work is done.

    ``leaves`` is the class of the stage's manifest, which carries the version of its recipe. ``inputs`` are the outputs
    that the stage reads. ``identity`` holds everything else that determines the content. Placement (worker counts,
    batch sizes, devices) stays out, so that another machine finds the same work.
    """

    leaves: type[M]
    name: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, Placed] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The digest of the recipe: equal recipes have equal fingerprints."""
        return fingerprint(
            {
                "stage": self.leaves.stage_name(),
                "format": FORMAT_VERSION,
                "version": self.leaves.recipe_version(),
                "identity": dict(self.identity),
                "inputs": self.inputs_read,
            }
        )

    @property
    def prefix(self) -> str:
        """The folder of the output under the storage URL."""
        return stage_prefix(self.leaves.stage_name(), self.name, self.fingerprint)

    @property
    def inputs_read(self) -> dict[str, str]:
        """The prefix of each input by its name, or the content of what is read of it, so that equal work is equal."""
        return {
            name: placed.content if isinstance(placed, Part) else placed.prefix for name, placed in self.inputs.items()
        }


@dataclass(frozen=True)
class Body:
    """The output of a stage's body before the commit: shards, facts and counts."""

    shards: Sequence[Shard]
    facts: Facts
    rows_in: int
    rows_quarantined: int = 0


@dataclass(frozen=True)
class Finished(Generic[M]):
    """A finished stage: its manifest, its seconds in this run, and whether an earlier run did the work."""

    manifest: M
    seconds: float
    reused: bool


class UnfinishedError(Exception):
    """A stage has work left, and :func:`only_finished` forbids to do it."""


_ONLY_FINISHED: ContextVar[bool] = ContextVar("only_finished", default=False)


@contextmanager
def only_finished() -> Iterator[None]:
    """Make every stage that the block runs raise UnfinishedError instead of working."""
    before = _ONLY_FINISHED.set(True)
    try:
        yield
    finally:
        _ONLY_FINISHED.reset(before)


def run_stage(storage: Storage, recipe: Recipe[M], body: Callable[[StageOutput[M]], Body]) -> Finished[M]:
    """Run ``body`` unless a manifest with the same fingerprint exists."""
    started = time.monotonic()
    stage = recipe.leaves.stage_name()
    output = StageOutput(storage, recipe.leaves, recipe.name, recipe.fingerprint)
    manifest = output.finished()
    reused = manifest is not None
    if manifest is None:
        if _ONLY_FINISHED.get():
            raise UnfinishedError(stage)
        tell(Event(stage, "started"))
        try:
            with Lease.hold(storage, output.prefix, _waiting(output)):
                manifest = output.finished() or _made(output, recipe, body)
        except _FinishedMeanwhileError as error:
            manifest = error.manifest
    seconds = time.monotonic() - started
    tell(Event(stage, "already done" if reused else "done", seconds=seconds))
    return Finished(manifest, seconds, reused)


def _made(output: StageOutput[M], recipe: Recipe[M], body: Callable[[StageOutput[M]], Body]) -> M:
    stage = recipe.leaves.stage_name()
    with tallied(stage, recipe.fingerprint) as tally:
        done = body(output)
    if tally.items:
        tell(Event(stage, "note", text=tally.summary()))
    try:
        return output.commit(
            done.shards,
            done.facts,
            rows_in=done.rows_in,
            rows_quarantined=done.rows_quarantined,
            inputs=recipe.inputs_read,
        )
    except ConflictError:
        # Another run has finished the same work meanwhile; on a GPU its last bits may differ. The first one holds.
        manifest = output.finished()
        if manifest is None:
            raise
        return manifest


class _FinishedMeanwhileError(Exception):
    """Another process has finished the stage that this one waited for."""

    def __init__(self, manifest: Any) -> None:
        self.manifest = manifest


def _waiting(output: StageOutput[M]) -> Callable[[Holder], None]:
    """What to do at each beat while another process holds the stage: say so once, and look whether it is done."""
    told: set[str] = set()

    def waiting(holder: Holder) -> None:
        if (manifest := output.finished()) is not None:
            raise _FinishedMeanwhileError(manifest)
        if holder.id not in told:
            told.add(holder.id)
            text = f"{holder} is at work on this stage: waiting until it is done, or gone; Ctrl-C leaves it to it"
            tell(Event(output.prefix.partition("/")[0], "note", text=text))

    return waiting


def steps(stage: str, text: str = "") -> Callable[[int, int], None]:
    """A callback that reports the finished steps of a stage, or of the part that ``text`` names."""
    return lambda done, total: tell(Event(stage, "step", done=done, total=total, text=text))
