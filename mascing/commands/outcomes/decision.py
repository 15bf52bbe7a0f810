"""The last lines of a run: what was published, or what kept each mask from it and what would change that."""

from collections.abc import Iterator
from dataclasses import dataclass

from mascing.evidence.explanation import also_passed, listed, missed_by_all, not_published
from mascing.schemas.result import Result


@dataclass(frozen=True)
class Line:
    """A line and its indentation; a ``command`` or path is kept on one line, so that it can be copied."""

    text: str
    indent: int = 0
    command: bool = False


def decision(result: Result, storage_url: str) -> Iterator[Line]:
    """What was decided, and what to do next."""
    if result.published is not None:
        if others := also_passed(result):
            yield Line(others)
        yield from _published(result, result.published, storage_url)
        return
    yield Line(not_published(result))
    yield from _missed(result)
    if others := also_passed(result):
        yield Line(others)
    if result.channel:
        yield Line(f"{result.channel.address} still holds {result.channel.mask}", command=True)
    yield from _unproven(result, storage_url)


def _missed(result: Result) -> Iterator[Line]:
    """Each gate that was missed, under the methods that missed it, with what would change it."""
    said: tuple[str, ...] = ()
    for gate in missed_by_all(result):
        if gate.methods != said:
            first = ", best on dev" if gate.methods == (result.first_on_dev,) else ""
            yield Line(f"{listed(list(gate.methods))}{first}:", indent=2)
            said = gate.methods
        yield Line(gate.reason, indent=4)
        yield from (Line(f"-> {sentence}", indent=6) for sentence in gate.remedies)


def _unproven(result: Result, storage_url: str) -> Iterator[Line]:
    if result.unproven is not None:
        command = f"mascing mask show {result.unproven.mask} --storage {storage_url}"
        yield Line(f"unproven: the mask of {result.unproven.method} is kept for a look: {command}", command=True)
    change = "change what a line with -> says, and run again" if result.remedies else "open the report"
    yield Line(f"next: {change}; what stays the same is not done again")


def _published(result: Result, method: str, storage_url: str) -> Iterator[Line]:
    channel = result.channel
    if channel is None or channel.mask != result.mask:
        now = f"{channel.address} holds {channel.mask}" if channel else "the channel is gone"
        yield Line(
            f"note: the mask of {method} was published as {result.mask}, but meanwhile another writer moved the "
            f"channel: {now}",
            command=True,
        )
        yield Line("next: run again to move it back, or look at the history: mascing registry list", command=True)
        return
    yield Line(f"published: the mask of {method}, as {channel.address}, which now holds {channel.mask}", command=True)
    yield Line(
        f"next: open the report, or look at the mask: mascing mask show {channel.address} --storage {storage_url}",
        command=True,
    )
