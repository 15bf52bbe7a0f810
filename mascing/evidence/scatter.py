"""What the scatter of a method's search seeds says, in words for the terminal and the page."""

from collections.abc import Sequence

from mascing.schemas.result import SeedRates, SeedScatter

_APART = 0.1
"""A difference of target rates that is told even where noise alone may make it."""


def seeds_differ(scatter: SeedScatter) -> bool:
    """Return whether one search instead of several might have ended otherwise."""
    lowest, highest = scatter.target_rates
    moving = sum(seed.moves for seed in scatter.seeds)
    return 0 < moving < len(scatter.seeds) or scatter.within_noise < len(scatter.seeds) or highest - lowest >= _APART


def scatter_text(method: str, scatter: SeedScatter) -> str:
    """Return a sentence: how many seeds raise the target rate, at what cost, and what that says of a single search."""
    total = len(scatter.seeds)
    if any(seed.uplift is None for seed in scatter.seeds):
        return f"{method}: target rates on dev of {total} search seeds: {_rates(scatter.seeds)}."
    moving = [seed for seed in scatter.seeds if seed.moves]
    if not moving:
        return (
            f"{method}: none of {total} search seeds certainly raises the target rate on dev ({_rates(scatter.seeds)})."
        )
    number = f"all {total}" if len(moving) == total else f"{len(moving)} of {total}"
    text = f"{method}: {number} search seeds certainly raise{'s' if len(moving) == 1 else ''} the target rate on dev"
    text += f" ({_rates(moving)})"
    if costly := sum(not seed.keeps for seed in moving):
        of_them = "" if costly == len(moving) else f"{costly} of them "
        text += f", {of_them}losing more on utility or protected sets than a pick may"
    if others := [seed for seed in scatter.seeds if not seed.moves]:
        text += f"; the other{'s reach' if len(others) > 1 else ' reaches'} {_rates(others)}"
    if picked := [seed.search_seed for seed in scatter.seeds if seed.picked]:
        text += f"; the pick is of seed {picked[0]}"
    if len(moving) < total or scatter.within_noise < total:
        return f"{text}. One search may miss what this method can find."
    if seeds_differ(scatter):
        return f"{text}; too few conversations were judged ({scatter.judged}) to tell whether the seeds differ."
    return f"{text}."


def _rates(seeds: Sequence[SeedRates]) -> str:
    rates = sorted(seed.target_rate for seed in seeds if seed.target_rate is not None)
    return " to ".join(dict.fromkeys(f"{100 * rate:.1f}%" for rate in (rates[0], rates[-1]))) if rates else "–"
