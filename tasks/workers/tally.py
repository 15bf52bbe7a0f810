"""What the workers did for a stage: counted while it runs, told as one line when it is done."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from rich import filesize

from mascing.prose import counted


@dataclass
class Tally:
    """Sums over the workers of a stage; ``run`` is the fingerprint of its output.

    ``counts`` are what the items counted (tokens, padding, bytes ...); ``found`` are items that were stored already.
    ``busy``, ``making`` and ``present`` are seconds of workers: at work, at work on what was not found, there to work.
    """

    stage: str = ""
    run: str = ""
    items: int = 0
    replaced: int = 0
    busy: float = 0.0
    making: float = 0.0
    present: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def tags(self) -> dict[str, str]:
        """Stage and run, for metrics and logs."""
        return {"stage": self.stage, "run": self.run}

    def add(self, seconds: float, counts: Mapping[str, int]) -> None:
        """Count one more item."""
        self.items += 1
        self.busy += seconds
        self.making += 0.0 if counts.get("found") else seconds
        self.counts.update(counts)

    def summary(self) -> str:
        """The line; empty if the workers had nothing to do."""
        if not self.items:
            return ""
        found = self.counts["found"]
        parts = [f"{counted(self.items - found, 'piece')} of work"]
        if found:
            parts.append(f"{counted(found, 'more was', 'more were')} stored already")
        tokens, padding = self.counts["tokens"], self.counts["padding"]
        if tokens:
            parts.append(f"{tokens:,} tokens, {tokens / max(self.making or self.busy, 1e-9):,.0f} a second and worker")
        if padding:
            parts.append(f"{padding / (tokens + padding):.0%} padding")
        if self.counts["bytes"]:
            parts.append(f"{filesize.decimal(self.counts['bytes'])} stored")
        if self.counts["quarantined"]:
            parts.append(f"{counted(self.counts['quarantined'], 'row')} set aside")
        if self.counts["out_of_memory"]:
            parts.append(f"memory ran out {counted(self.counts['out_of_memory'], 'time')}")
        if self.replaced:
            parts.append(f"{counted(self.replaced, 'worker')} replaced")
        idle = max(0.0, self.present - self.busy)
        parts.append(f"workers idle for {idle:.1f} of {max(self.present, idle):.1f} s")
        return "; ".join(parts)


_CURRENT: ContextVar[Tally | None] = ContextVar("tally", default=None)


@contextmanager
def tallied(stage: str, run: str) -> Iterator[Tally]:
    """Count in the block what workers do for a stage."""
    tally = Tally(stage, run)
    token = _CURRENT.set(tally)
    try:
        yield tally
    finally:
        _CURRENT.reset(token)


def current() -> Tally:
    """The tally of the running stage; one that nobody reads outside of a stage."""
    return _CURRENT.get() or Tally()
