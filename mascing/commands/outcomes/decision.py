"""The last lines of a run: what was published, or what kept each mask from it and what would change that."""

from collections.abc import Iterator

from mascing.evidence.explanation import also_passed, listed, missed_by_all, not_published
from mascing.schemas.result import Result


def decision(result: Result, option: str) -> Iterator[str]:
    """What was decided, and what to do next; ``option`` names the storage in a command."""
    if result.published is not None:
        if others := also_passed(result):
            yield others
        yield from _published(result, result.published, option)
        return
    yield not_published(result)
    yield from _missed(result)
    if others := also_passed(result):
        yield others
    if result.channel:
        yield f"{result.channel.address} still holds {result.channel.mask}"
    yield from _unproven(result, option)


def _missed(result: Result) -> Iterator[str]:
    """Each gate that was missed, under the methods that missed it, with what would change it."""
    said: tuple[str, ...] = ()
    for gate in missed_by_all(result):
        if gate.methods != said:
            first = ", best on dev" if gate.methods == (result.first_on_dev,) else ""
            yield f"  {listed(list(gate.methods))}{first}:"
            said = gate.methods
        yield f"    {gate.reason}"
        yield from (f"      -> {sentence}" for sentence in gate.remedies)


def _unproven(result: Result, option: str) -> Iterator[str]:
    if result.unproven is not None:
        command = f"mascing mask show {result.unproven.mask}{option}"
        yield f"unproven: the mask of {result.unproven.method}, best on dev, is kept: {command}"
    change = "change what a line with -> says, and run again" if result.remedies else "open the report"
    yield f"next: {change}; what stays the same is not done again"


def _published(result: Result, method: str, option: str) -> Iterator[str]:
    channel = result.channel
    if channel is None or channel.mask != result.mask:
        now = f"{channel.address} holds {channel.mask}" if channel else "the channel is gone"
        yield (
            f"note: the mask of {method} was published as {result.mask}, but meanwhile another writer moved the "
            f"channel: {now}"
        )
        yield f"next: run again to move it back, or look at the history: mascing registry list{option}"
        return
    yield f"published: the mask of {method}, as {channel.address}, which now holds {channel.mask}"
    yield f"next: open the report, or look at the mask: mascing mask show {channel.address}{option}"
