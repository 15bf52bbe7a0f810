"""The last lines of a run: what was published, or what kept each mask from it and what would change that."""

from collections.abc import Iterator
from dataclasses import dataclass

from mascing.evidence.explanation import also_passed, listed, missed_by_all, not_published
from mascing.schemas.result import Result


@dataclass(frozen=True)
class Sentence:
    """A line and its indentation; a ``command`` or path is kept on one line, so that it can be copied."""

    text: str
    indent: int = 0
    command: bool = False


def decision(result: Result, storage_url: str) -> Iterator[Sentence]:
    """What was decided, and what to do next."""
    if result.published is not None:
        if others := also_passed(result):
            yield Sentence(others)
        yield from _published(result, result.published, storage_url)
        return
    yield Sentence(not_published(result))
    yield from _missed(result)
    if others := also_passed(result):
        yield Sentence(others)
    if result.channel:
        yield Sentence(f"{result.channel.address} still holds {result.channel.mask}", command=True)
    yield from _unproven(result, storage_url)


def _missed(result: Result) -> Iterator[Sentence]:
    """Each gate that was missed, under the methods that missed it, with what would change it."""
    said: tuple[str, ...] = ()
    for gate in missed_by_all(result):
        if gate.methods != said:
            first = ", best on dev" if gate.methods == (result.first_on_dev,) else ""
            yield Sentence(f"{listed(list(gate.methods))}{first}:", indent=2)
            said = gate.methods
        yield Sentence(gate.reason, indent=4)
        yield from (Sentence(f"-> {sentence}", indent=6) for sentence in gate.remedies)


def _unproven(result: Result, storage_url: str) -> Iterator[Sentence]:
    if result.unproven is not None:
        command = f"mascing mask show {result.unproven.mask} --storage {storage_url}"
        yield Sentence(f"unproven: the mask of {result.unproven.method}, best on dev, is kept: {command}", command=True)
    change = "change what a line with -> says, and run again" if result.remedies else "open the report"
    yield Sentence(f"next: {change}; what stays the same is not done again")


def _published(result: Result, method: str, storage_url: str) -> Iterator[Sentence]:
    channel = result.channel
    if channel is None or channel.mask != result.mask:
        now = f"{channel.address} holds {channel.mask}" if channel else "the channel is gone"
        yield Sentence(
            f"note: the mask of {method} was published as {result.mask}, but meanwhile another writer moved the "
            f"channel: {now}",
            command=True,
        )
        yield Sentence("next: run again to move it back, or look at the history: mascing registry list", command=True)
        return
    yield Sentence(
        f"published: the mask of {method}, as {channel.address}, which now holds {channel.mask}", command=True
    )
    yield Sentence(
        f"next: open the report, or look at the mask: mascing mask show {channel.address} --storage {storage_url}",
        command=True,
    )
