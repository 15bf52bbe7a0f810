"""How every stage runs: identity -> fingerprint -> finished? -> body -> commit."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from mascing.progress import Event, tell
from mascing.schemas.manifest import FORMAT_VERSION, Facts, Manifest, Shard, stage_prefix
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage

M = TypeVar("M", bound=Manifest)


class Placed(Protocol):
    """Whatever says under which prefix a stage's output lies: a manifest, or a recipe that was not followed yet."""

    @property
    def prefix(self) -> str:
        """``<stage>/<name>-<fingerprint>``."""


@dataclass(frozen=True)
class Recipe(Generic[M]):
    """What identifies the output of a stage, known before any work is done.

    ``leaves`` is the class of the stage's manifest and carries the version of its recipe, ``inputs`` are what it reads.
    ``identity`` holds all else that determines the content and nothing of placement: worker counts, batch sizes and
    devices stay out, so that the same work is found again on another machine.
    """

    leaves: type[M]
    name: str
    identity: Mapping[str, Any]
    inputs: Mapping[str, Placed] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """Equal recipes have equal fingerprints."""
        return fingerprint(
            {
                "stage": self.leaves.stage_name(),
                "format": FORMAT_VERSION,
                "version": self.leaves.recipe_version(),
                "identity": dict(self.identity),
                "inputs": self.input_prefixes,
            }
        )

    @property
    def prefix(self) -> str:
        """Where the output lies under the storage URL."""
        return stage_prefix(self.leaves.stage_name(), self.name, self.fingerprint)

    @property
    def input_prefixes(self) -> dict[str, str]:
        """The prefix of each input, by its name."""
        return {name: placed.prefix for name, placed in self.inputs.items()}


@dataclass(frozen=True)
class Body:
    """What a stage's body leaves for the commit: its shards, its facts and its counts."""

    shards: Sequence[Shard]
    facts: Facts
    rows_in: int
    rows_quarantined: int = 0


@dataclass(frozen=True)
class Finished(Generic[M]):
    """A finished stage: its manifest, the seconds of this run, and whether an earlier run had done the work."""

    manifest: M
    seconds: float
    reused: bool


def run_stage(storage: Storage, recipe: Recipe[M], body: Callable[[StageOutput[M]], Body]) -> Finished[M]:
    """Run ``body`` unless a manifest with the same fingerprint is there already."""
    started = time.monotonic()
    stage = recipe.leaves.stage_name()
    output = StageOutput(storage, recipe.leaves, recipe.name, recipe.fingerprint)
    manifest = output.finished()
    reused = manifest is not None
    if manifest is None:
        tell(Event(stage, "started"))
        left = body(output)
        manifest = output.commit(
            left.shards,
            left.facts,
            rows_in=left.rows_in,
            rows_quarantined=left.rows_quarantined,
            inputs=recipe.input_prefixes,
        )
    seconds = time.monotonic() - started
    tell(Event(stage, "already done" if reused else "done", seconds=seconds))
    return Finished(manifest, seconds, reused)


def steps(stage: str, text: str = "") -> Callable[[int, int], None]:
    """A callback that tells how many steps of a stage, or of the part of it that ``text`` names, are done."""
    return lambda done, total: tell(Event(stage, "step", done=done, total=total, text=text))
