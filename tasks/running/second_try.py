"""Rows that failed in a stage that was then refused get a second try at its next start, and no other rows do.

A row often fails for a reason that lies in the machine. Pieces that hold such failures step aside under another name:
the next start makes them again, and takes from there what did not fail.
"""

from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Any

from mascing.conversations.intake.rows import Quarantined
from mascing.conversations.parquet_tables import quarantine_table
from mascing.runs.upkeep.inventory import take_inventory
from mascing.storage import parquet
from mascing.storage.lease import held, living
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import check
from mascing.tasks.running.isolation import refusal
from mascing.traces.shard_files import ShardFile, read_groups
from mascing.traces.trace_set import SampleTrace, samples_of

_REFUSED = "refused.parquet"
"""The reasons of all rows that failed when the stage was last refused."""


def refuse_failures(
    output: StageOutput[Any], failed: Sequence[Quarantined], total: int, limit: float, pieces: Collection[str]
) -> None:
    """Raise `refusal` before the commit if more than a share ``limit`` of the ``total`` conversations failed.

    ``pieces`` are the paths of those that hold the failures; they step aside.
    """
    if len(failed) <= limit * total:
        return
    path = f"{output.prefix}/{_REFUSED}"
    output.storage.overwrite(path, parquet.to_bytes(quarantine_table(failed)))
    step_aside(output, pieces)
    raise refusal(output.prefix.partition("/")[0], failed, total, limit, output.storage.locate(path))


def step_aside(output: StageOutput[Any], pieces: Collection[str]) -> None:
    """Move the pieces, but for those that another stage has accepted, or may be about to."""
    storage = output.storage
    kept = take_inventory(storage).named
    if held(storage).keys() - {output.prefix} and living(storage).keys() - {output.prefix}:
        kept |= {path for path in pieces if path.startswith("traces/")}  # manifests name no other pieces
    for path in set(pieces) - kept:
        storage.overwrite(aside(path), storage.read(path))
        storage.remove(path)


def aside(path: str) -> str:
    """Where a piece is after it stepped aside: in the same folder."""
    place = PurePosixPath(path)
    return str(place.with_name(f"{place.stem}-aside{place.suffix}"))


def recorded_before(storage: Storage, path: str) -> dict[str, SampleTrace]:
    """The traces in the piece that stepped aside from ``path``, by conversation; none if there is no such piece.

    Raises DataError if it is damaged.
    """
    try:
        data = storage.read(aside(path))
    except FileNotFoundError:
        return {}
    check(data, storage.locate(aside(path)))
    file = ShardFile(data, aside(path))
    if file.layout.keeps == "counts" or not file.rows:
        return {}
    samples = samples_of(read_groups([(file, group) for group in range(len(file.rows))]))
    return {sample.conversation_id: sample for sample in samples}
