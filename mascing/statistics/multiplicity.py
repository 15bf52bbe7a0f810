"""Adjust p-values for several comparisons."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

Name = TypeVar("Name")


def holm(p_values: Mapping[Name, float]) -> dict[Name, float]:
    """Return each comparison's p-value after Holm's adjustment for all of them, by name.

    Those at or below 0.05 hold together at the 5% level, however the tests depend on each other. Source: Holm (1979).
    The numbers are those of statsmodels, which collects all garbage of the process at each call: half a second and more
    where PyTorch is loaded.
    """
    p_N = np.array(list(p_values.values()), dtype=np.float64)
    order_N = p_N.argsort()
    adjusted_N = np.empty_like(p_N)
    adjusted_N[order_N] = np.maximum.accumulate(p_N[order_N] * np.arange(len(p_N), 0, -1)).clip(max=1.0)
    return dict(zip(p_values, adjusted_N.tolist(), strict=True))
