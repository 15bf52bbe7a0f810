"""Whether a mask misses its gates only because the test sets are small."""

from collections.abc import Mapping

from mascing.evidence.gates import loss_limit
from mascing.schemas.config import GatesConfig
from mascing.schemas.result import MethodResult, Rate


def too_small(
    result: MethodResult, changes: Mapping[str, Rate], baselines: Mapping[str, Rate], gates: GatesConfig
) -> list[str]:
    """The sets that need more rows, if that is all that keeps the mask: each gate it misses holds at the point value.

    ``changes`` and ``baselines`` are those of `mascing.evidence.gates.decide`. Empty if a gate is missed otherwise.
    """
    missed = [head for reason in result.reasons if not (head := reason.partition(":")[0]).endswith(" passes")]
    names = [head.removesuffix(" fails").removesuffix(" is undecided") for head in missed]
    holds = {name: _holds(name, changes[name], baselines[name], gates) for name in changes}
    holds["replies"] = result.degenerate_change.value <= gates.max_degenerate
    if not all(holds.get(name, False) for name in names):
        return []
    # Degenerate replies are counted over all sets.
    return list(changes) if "replies" in names else names


def _holds(name: str, change: Rate, baseline: Rate, gates: GatesConfig) -> bool:
    if change.unscored == change.n:
        return False
    if name == "target":
        return change.value >= gates.min_uplift
    limit = loss_limit(name, gates)
    return limit >= 1 or (-change.value <= limit and baseline.value >= max(limit, gates.min_baseline))
