"""Circuit precision: the share of a mask that lies on a circuit known to cause the behaviour.

Shape suffixes: L MoE layer, E expert.
"""

from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule, Rule


def circuit_precision(mask: Mask, truth_LE: Tensor) -> float:
    """Share of the mask's strongest entries that are planted, with the right sign.

    ``truth_LE`` [L, E] is positive on the planted experts to raise, negative on those to lower, 0 elsewhere. The number
    of entries counted is the number planted, or all of the mask's if it has fewer; a mask without entries has
    precision 0. The strength of an additive entry is its bias. The strength of an override entry is its risk
    difference, positive if activated and negative if deactivated. Raises MaskError if the shapes differ.
    """
    return map_precision(_signed_strength(mask.rule), truth_LE)


def map_precision(strength_LE: Tensor, truth_LE: Tensor) -> float:
    """Circuit precision of any map of signed strengths [L, E], such as an attribution."""
    if strength_LE.shape != truth_LE.shape:
        raise MaskError(f"mask of shape {tuple(strength_LE.shape)} and truth of shape {tuple(truth_LE.shape)} differ")
    strength, truth = strength_LE.flatten(), truth_LE.flatten()
    n = min(int((truth != 0).sum()), int((strength != 0).sum()))
    if n == 0:
        return 0.0
    strongest = strength.abs().argsort(descending=True, stable=True)[:n]
    return float((strength[strongest].sign() == truth[strongest].sign()).float().mean())


def _signed_strength(rule: Rule) -> Tensor:
    match rule:
        case BiasRule(bias_LE):
            return bias_LE
        case OverrideRule():
            # A tiny offset keeps a (de)activated expert of risk difference 0 among the entries.
            return rule.signed_LE * (rule.priority_LE.abs() + 1e-9)
