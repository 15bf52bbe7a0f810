"""Adjust p-values for several comparisons."""

from collections.abc import Mapping
from typing import TypeVar

Name = TypeVar("Name")


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return each comparison's p-value after Holm's adjustment for all of them, by name.

    Those at or below 0.05 hold together at the 5% level, however the tests depend on each other. Source: Holm (1979),
    by statsmodels.
    """
    from statsmodels.stats.multitest import multipletests

    if not p_values:
        return {}
    adjusted = multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, (float(p) for p in adjusted), strict=True))
