"""What a method's search on dev says about a gate that its pick missed on test: other cells, ends of its grid."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from mascing.evidence.explanation import listed
from mascing.evidence.gates import signed
from mascing.schemas.config import GatesConfig
from mascing.schemas.result import Remedy

STRENGTHS = {
    "alpha": "alphas",
    "share": "shares",
    "n_activated": "n_activated",
    "n_deactivated": "n_deactivated",
}
"""The entries of a cell that say how strong its mask is, the stronger the larger, and the setting that lists them."""

_NOTHING = 0.02
"""A gain on dev below which a search is said to have found nothing."""


@dataclass(frozen=True)
class Tried:
    """A candidate on dev: the point change of each set on its ``judged`` conversations.

    ``beyond`` is how much more it loses, on its worst set, than a pick may; 0 if it keeps every set.
    """

    cell: Mapping[str, Any]
    judged: int
    changes: Mapping[str, float]
    beyond: float


@dataclass(frozen=True)
class DevSearch:
    """The search of one method on dev: its pick, the other candidates that were judged, and its ``grid``.

    ``grid`` has the values of each strength among all ``candidates``, ascending. ``headroom`` is the share of a limit
    that a pick may use up on dev.
    """

    method: str
    picked: Tried
    others: tuple[Tried, ...]
    grid: Mapping[str, tuple[float, ...]]
    candidates: int
    headroom: float

    def setting(self, strength: str) -> str:
        """The field of the configuration that lists the values of a strength."""
        return f"methods.{self.method}.{STRENGTHS[strength]}"


def stronger(search: DevSearch, gate: str, gates: GatesConfig) -> Iterator[Remedy]:
    """What would make the mask of a method stronger whose pick gains too little."""
    enough = max(gates.min_uplift, _NOTHING)
    costly = [tried for tried in search.others if tried.beyond > 0 and tried.changes["target"] >= enough]
    at_end = [name for name, values in search.grid.items() if values[1:] and search.picked.cell.get(name) == values[-1]]
    if costly:
        yield Remedy(gate=gate, kind="cost", sentence=_cost(search, min(costly, key=_cheapest), gates))
    for strength in at_end:
        way = f"add larger values to {search.setting(strength)}"
        told = f"the pick has the largest of its grid, {search.picked.cell[strength]:g}"
        yield Remedy(gate=gate, kind="grid", sentence=f"{way}: {told}")
    if not costly and not at_end:
        yield Remedy(gate=gate, kind="search", sentence=_nothing_stronger(search))


def milder(search: DevSearch, gate: str, name: str, gates: GatesConfig) -> Iterator[Remedy]:
    """What would make the mask of a method milder whose pick costs the set ``name`` too much."""
    lost = -search.picked.changes.get(name, 0.0)
    found = [
        tried
        for tried in search.others
        if tried.beyond == 0
        and tried.changes["target"] >= max(gates.min_uplift, _NOTHING)
        and -tried.changes.get(name, 0.0) < lost
    ]
    told = f"on dev {name} {_moved(-lost)} under the pick ({described(search.picked.cell)})"
    if found:
        best = max(found, key=lambda tried: (tried.changes["target"], tried.judged))
        told += (
            f" and {_moved(best.changes[name])} under {described(best.cell)}, which still gained "
            f"{_size(best.changes['target'])} points"
        )
    elif search.picked.beyond > 0:
        told += f", {_size(search.picked.beyond)} points more than a pick may, and no judged candidate keeps every set"
    else:
        told += ", so dev does not show this cost"
    yield from weaker(search, gate, told)


def weaker(search: DevSearch, gate: str, told: str) -> Iterator[Remedy]:
    """How to have only weaker masks than the pick; ``told`` is why."""
    above_0 = {strength: [value for value in values if value > 0] for strength, values in search.grid.items()}
    held = {
        strength: value
        for strength in above_0
        if isinstance(value := search.picked.cell.get(strength), int | float) and value > 0
    }
    larger = [strength for strength, value in held.items() if value > above_0[strength][0]]
    if not held:
        yield Remedy(gate=gate, kind="search", sentence=f"look for a milder mask, or take another method: {told}")
    elif larger:
        cut = listed([f"{held[strength]:g} and more out of {search.setting(strength)}" for strength in larger])
        yield Remedy(gate=gate, kind="grid", sentence=f"leave {cut}: {told}")
    else:
        smaller = listed([f"{search.setting(strength)} below {value:g}" for strength, value in held.items()])
        sentence = f"add values to {smaller}, the smallest of the grid, which was picked: {told}"
        yield Remedy(gate=gate, kind="grid", sentence=sentence)


def described(cell: Mapping[str, Any]) -> str:
    """The numbers of a cell that tell it from others: ``alpha 3, lambda 0.0001``."""
    numbers = {key: value for key, value in cell.items() if isinstance(value, int | float)}
    return ", ".join(f"{key} {value:g}" for key, value in sorted(numbers.items()) if key not in ("search_seed", "kept"))


def _cheapest(tried: Tried) -> tuple[float, float]:
    return tried.beyond, -tried.changes["target"]


def _cost(search: DevSearch, tried: Tried, gates: GatesConfig) -> str:
    """A candidate that gained enough on dev and lost more elsewhere than a pick may: the two ways to use it."""
    limits = {"utility": "max_utility_loss", "protected": "protected_tolerance"}
    beyond = {
        name: -change - search.headroom * getattr(gates, limits[kind])
        for name, change in tried.changes.items()
        if (kind := name.partition("/")[0]) in limits
    }
    name = max(beyond, key=lambda name: beyond[name])
    setting = limits[name.partition("/")[0]]
    limit, lost = getattr(gates, setting), -tried.changes[name]
    needed = ceil(100 * lost / search.headroom - 1e-9) / 100
    ways = [f"set gates.{setting} to {needed:g} if so much may be lost"] if needed < 1 else []
    ways += [_between(search, tried)]
    return (
        f"{', or '.join(ways)}: on dev {described(tried.cell)} gained {_size(tried.changes['target'])} points (the "
        f"pick: {signed(search.picked.changes['target'])}), but {name} {_moved(-lost)}, and a pick may lose "
        f"{_size(search.headroom * limit)} there ({search.headroom:.0%} of gates.{setting})"
    )


def _between(search: DevSearch, tried: Tried) -> str:
    """Ask for a strength between that of a costly candidate and the next weaker one of the grid."""
    for strength, values in search.grid.items():
        value = tried.cell.get(strength)
        weaker = [other for other in values if isinstance(value, int | float) and other < value]
        if strength == "alpha" and weaker:
            return f"add values between {weaker[-1]:g} and {value:g} to {search.setting(strength)}"
        if strength == "alpha" and isinstance(value, int | float):
            return f"add values below {value:g} to {search.setting(strength)}"
    settings = [search.setting(name) for name in search.grid] or [f"the grid of methods.{search.method}"]
    return f"add milder values to {listed(settings)}"


def _nothing_stronger(search: DevSearch) -> str:
    best, judged = max(tried.changes["target"] for tried in (search.picked, *search.others)), 1 + len(search.others)
    ways = "leave this method out, or give it more conversations to learn from"
    if judged < search.candidates:
        ways = f"have all {search.candidates} candidates judged on dev (selection.mode: full; {judged} were), or {ways}"
    found = f"the best of them gained {_size(best)} points there" if best > 0 else "none of them raised the target rate"
    return f"{ways}: {found}"


def _moved(change: float) -> str:
    if abs(change) < 5e-4:
        return "lost nothing"
    return f"{'gained' if change > 0 else 'lost'} {_size(change)}"


def _size(share: float) -> str:
    return f"{abs(100 * share):.1f}"
