"""Masks that no run published: marked in their provenance, so that the mark goes wherever the mask goes."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mascing.masks.mask import Mask

UNPROVEN = "unproven"
"""The entry of a mask's provenance that says why it is unproven."""


def marked_unproven(mask: Mask, why: str) -> Mask:
    """The mask with the mark in its provenance; ``why`` says what it did not pass."""
    return replace(mask, provenance={**mask.provenance, UNPROVEN: why})


def why_unproven(mask: Mask) -> str | None:
    """Why the mask is unproven, of a composition the reasons of its parts; None if it bears no mark."""
    return why_unproven_in(mask.provenance)


def why_unproven_in(provenance: Any) -> str | None:
    """The reasons in a provenance at any depth, as one text; None if it bears no mark."""
    reasons = list(dict.fromkeys(_marks(provenance)))
    return "; ".join(reasons) or None


def _marks(provenance: Any) -> Iterator[str]:
    """The marks at any depth: a composition holds the provenance of its parts."""
    if isinstance(provenance, dict):
        if UNPROVEN in provenance:
            yield str(provenance[UNPROVEN])
        provenance = list(provenance.values())
    if isinstance(provenance, list):
        for value in provenance:
            yield from _marks(value)
