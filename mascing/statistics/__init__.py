"""Statistics of judged replies: intervals, paired tests, multiplicity, agreement and power, clustered by group."""

from mascing.statistics.agreement import kappa
from mascing.statistics.intervals import paired_difference, rate
from mascing.statistics.multiplicity import holm
from mascing.statistics.paired import cluster_permutation, mcnemar

__all__ = [
    "cluster_permutation",
    "holm",
    "kappa",
    "mcnemar",
    "paired_difference",
    "rate",
]
