"""A run's decision in words: why its mask was not published, what else passed, and what would change that."""

from collections.abc import Iterator
from dataclasses import dataclass

from mascing.evidence.gates import missed_gates
from mascing.evidence.results import CONTROL, passed_unpublished
from mascing.prose import counted
from mascing.schemas.result import Result


@dataclass(frozen=True)
class MissedGate:
    """A gate that ``methods`` missed: its ``reason`` with the numbers, and what would change it for them."""

    methods: tuple[str, ...]
    reason: str
    remedies: tuple[str, ...]


def missed_by(result: Result, method: str) -> Iterator[MissedGate]:
    """The gates that a method missed, in the order of its reasons."""
    for reason in result.methods[method].reasons:
        for gate in missed_gates([reason]):
            remedies = [remedy.sentence for remedy in result.remedies.get(method, ()) if remedy.gate == gate]
            yield MissedGate((method,), reason, tuple(remedies))


def missed_by_all(result: Result) -> list[MissedGate]:
    """What the methods missed, the first on dev first, and the control left out.

    What several methods missed with the same numbers and the same remedies is told once: a set that the unsteered model
    does not master is a matter of no method.
    """
    methods: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for method in sorted(result.methods, key=lambda name: name != result.first_on_dev):
        if method != CONTROL:
            for gate in missed_by(result, method):
                methods.setdefault((gate.reason, gate.remedies), []).append(method)
    return [MissedGate(tuple(names), reason, remedies) for (reason, remedies), names in methods.items()]


def not_published(result: Result) -> str:
    """Say that no mask was published, and what the method that dev ranks first has to do with it."""
    first = result.first_on_dev
    if first is None:
        return "no mask was published"
    missed = len(list(missed_by(result, first)))
    return (
        f"no mask was published: of all methods, {first} did best on dev, so only its mask could be published, and on "
        f"test it missed {counted(missed, 'gate')}"
    )


def also_passed(result: Result) -> str | None:
    """Say which methods pass on test and are not published, and why; None if there are none."""
    others = passed_unpublished(result)
    if not others:
        return None
    passed, one = listed(others), len(others) == 1
    if result.published is not None:
        return f"on test, {passed} {'passes' if one else 'pass'} every gate too; only the best on dev is published"
    return (
        f"on test, {passed} {'passes' if one else 'pass'} every gate, but {'is' if one else 'are'} not published: the "
        "method is chosen on dev, since the best of several on test may be best by luck. To publish one, run it alone, "
        "with the other methods set to null, best on new conversations"
    )


def listed(names: list[str]) -> str:
    """Join names: ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
