"""Statistics of judged replies: intervals, a paired test, multiplicity, agreement and power, clustered by group."""

from mascing.statistics.agreement import kappa
from mascing.statistics.intervals import paired_difference, paired_p, rate
from mascing.statistics.multiplicity import holm

__all__ = [
    "holm",
    "kappa",
    "paired_difference",
    "paired_p",
    "rate",
]
