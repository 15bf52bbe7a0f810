"""How every stage runs: identity -> fingerprint -> finished? -> body -> commit."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mascing.progress import Event, tell
from mascing.schemas.manifest import FORMAT_VERSION, Manifest, Shard
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage


@dataclass(frozen=True)
class Body:
    """What a stage's body leaves for the commit: its shards, its counts and its facts."""

    shards: Sequence[Shard]
    rows_in: int
    rows_quarantined: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageRun:
    """A finished stage: its manifest, the seconds of this run, and whether an earlier run had done the work."""

    manifest: Manifest
    seconds: float
    reused: bool


def run_stage(
    storage: Storage,
    stage: str,
    name: str,
    *,
    identity: Mapping[str, Any],
    inputs: Mapping[str, Manifest],
    body: Callable[[StageOutput], Body],
) -> StageRun:
    """Run ``body`` unless a manifest with the same fingerprint is there already.

    ``identity`` holds all that determines the content and nothing of placement: worker counts, batch sizes and
    devices stay out, so that the same work is found again on another machine.
    """
    started = time.monotonic()
    prefixes = {key: manifest.prefix for key, manifest in inputs.items()}
    output = StageOutput(storage, stage, name, _fingerprint(stage, identity, prefixes))
    manifest = output.finished()
    reused = manifest is not None
    if manifest is None:
        tell(Event(stage, "started"))
        made = body(output)
        manifest = output.commit(
            made.shards,
            rows_in=made.rows_in,
            rows_quarantined=made.rows_quarantined,
            inputs=prefixes,
            facts=dict(made.facts),
        )
    seconds = time.monotonic() - started
    tell(Event(stage, "already done" if reused else "done", seconds=seconds))
    return StageRun(manifest, seconds, reused)


def steps(stage: str, text: str = "") -> Callable[[int, int], None]:
    """A callback that tells how many steps of a stage, or of the part of it that ``text`` names, are done."""
    return lambda done, total: tell(Event(stage, "step", done=done, total=total, text=text))


def _fingerprint(stage: str, identity: Mapping[str, Any], prefixes: Mapping[str, str]) -> str:
    return fingerprint({"stage": stage, "format": FORMAT_VERSION, "identity": dict(identity), "inputs": dict(prefixes)})
