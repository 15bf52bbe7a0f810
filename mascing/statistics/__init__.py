"""Statistics of judged replies: intervals, a paired test, multiplicity, agreement and power, clustered by group."""

from mascing.statistics.agreement import kappa
from mascing.statistics.intervals import paired_difference, paired_p, rate
from mascing.statistics.means import mean_difference
from mascing.statistics.multiplicity import holm

__all__ = [
    "holm",
    "kappa",
    "mean_difference",
    "paired_difference",
    "paired_p",
    "rate",
]
