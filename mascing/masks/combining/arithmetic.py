"""Arithmetic of bias masks: a multiple of one, and the sum of two of the same model.

The result says how it was made. It is a new mask: what was measured of its parts does not hold for it.
"""

from typing import NoReturn

from mascing.errors import MaskError
from mascing.masks.combining.composition import compose
from mascing.masks.experts import finite_number
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule

SCALING = "scaling"


def scaled(mask: Mask, factor: float) -> Mask:
    """The mask with its biases times ``factor``. Raises MaskError for an override mask and for no finite number."""
    factor = finite_number(factor, "what multiplies a mask")
    if not isinstance(mask.rule, BiasRule):
        _refuse_override("multiplied")
    provenance = {"method": SCALING, "factor": factor, "part": {"digest": mask.digest, **mask.provenance}}
    # Adding 0 turns -0 into 0, so that equal masks have equal digests.
    return Mask.from_bias(mask.rule.bias_LE * factor + 0.0, mask.spec, provenance)


def summed(first: Mask, second: object) -> Mask:
    """The mask with the biases of both. Raises MaskError for override masks and for masks of different models."""
    if not isinstance(second, Mask):
        raise MaskError(f"a mask can be added to a mask, not to {type(second).__name__}")
    if not (isinstance(first.rule, BiasRule) and isinstance(second.rule, BiasRule)):
        _refuse_override("added")
    return compose([first, second]).mask


def _refuse_override(done: str) -> NoReturn:
    raise MaskError(
        f"an override mask forces experts on or off and has no size that could be {done}: use bias masks, or unite "
        "override masks with `mascing mask compose`"
    )
