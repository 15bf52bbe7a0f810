"""The headline of the page: what was steered, which mask passed if any, and by how much."""

from collections.abc import Mapping
from dataclasses import dataclass

from mascing.evidence.explanation import also_passed, not_published
from mascing.evidence.results import CONTROL
from mascing.report.looks import in_order
from mascing.report.wording import percent, points, points_text, set_title
from mascing.schemas.result import MethodResult, Rate, Result


@dataclass(frozen=True)
class Tile:
    """One number of the headline with its label and its interval or change."""

    label: str
    value: str
    detail: str


@dataclass(frozen=True)
class Headline:
    """The verdict of a run in one sentence, with its evidence and numbers."""

    passed: bool
    verdict: str
    sentence: str
    tiles: tuple[Tile, ...]
    warnings: tuple[str, ...]


def headline(result: Result, changes: Mapping[str, Mapping[str, Rate]]) -> Headline:
    """Write the headline of a run; ``changes`` holds each method's paired change per set, if replies were judged."""
    method = shown_method(result)
    return Headline(
        passed=result.published is not None,
        verdict=_verdict(result),
        sentence=". ".join(result.lacking) if method is None else _sentence(method, result),
        tiles=() if method is None else _tiles(method, result, changes.get(method, {})),
        warnings=tuple(_warnings(result)),
    )


def shown_method(result: Result) -> str | None:
    """Return the method that the page shows in detail.

    It is the published one, else the first on dev, else the one with the highest uplift.
    """
    if result.published is not None or result.first_on_dev is not None:
        return result.published or result.first_on_dev
    ranked = [name for name in in_order(result.methods) if name != CONTROL]
    return max(ranked, key=lambda name: result.methods[name].uplift.value, default=None)


def _verdict(result: Result) -> str:
    if result.lacking:
        return "No mask was searched for: there is not enough to learn from."
    if result.published is not None:
        return f"The {result.published} mask passed every gate and was published."
    return _as_sentence(not_published(result))


def _as_sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _sentence(method: str, result: Result) -> str:
    steered, before = result.methods[method], result.baseline.target_rate
    others = also_passed(result)
    lead = f"{_as_sentence(others)} " if others else ""
    return (
        f"{lead}Under the {method} mask, the wanted behaviour went from {percent(before.value)} to "
        f"{percent(steered.target_rate.value)} on {steered.target_rate.n} held-out conversations: "
        f"{points(steered.uplift.value)} percentage points (95% interval {points(steered.uplift.low)} to "
        f"{points(steered.uplift.high)})."
    )


def _tiles(method: str, result: Result, changes: Mapping[str, Rate]) -> tuple[Tile, ...]:
    steered, before = result.methods[method], result.baseline
    tiles = [
        Tile("Target, unsteered", percent(before.target_rate.value), _range(before.target_rate)),
        Tile(f"Target, {method}", percent(steered.target_rate.value), _range(steered.target_rate)),
        Tile(
            "Uplift, points",
            points(steered.uplift.value),
            f"95%: {points(steered.uplift.low)} to {points(steered.uplift.high)}",
        ),
    ]
    for kind, rates in (("utility", steered.utility), ("protected", steered.protected)):
        tiles += [_kept(f"{kind}/{name}", rate, changes) for name, rate in rates.items()]
    return tuple(tiles)


def _kept(name: str, rate: Rate, changes: Mapping[str, Rate]) -> Tile:
    change = f"change {points_text(changes[name])}" if name in changes else _range(rate)
    return Tile(set_title(name), percent(rate.value), change)


def _range(rate: Rate) -> str:
    return f"95%: {100 * rate.low:.1f} to {100 * rate.high:.1f}"


def _warnings(result: Result) -> list[str]:
    control: MethodResult | None = result.methods.get(CONTROL)
    warnings = []
    if control is not None and control.uplift.low > 0:
        warnings.append(
            f"The shuffled control also moved the target ({points_text(control.uplift)} points): part of any uplift "
            "here may be disturbance and not steering."
        )
    rates = {"the baseline": result.baseline.target_rate} | {
        f"{name}": method.target_rate for name, method in result.methods.items()
    }
    unread = [f"{name} {rate.unscored} of {rate.n}" for name, rate in rates.items() if rate.unscored]
    if unread:
        warnings.append(
            f"Some target replies could not be judged ({'; '.join(unread)}). Intervals count them as the worst case."
        )
    return warnings
