"""How much more often an expert is selected on traces with the behaviour than on paired traces without it.

Source: SteerMoE (arXiv 2509.09660), paired-example routing-difference detection.
Shape suffixes: S side of the contrast (0 negative, 1 positive), T token, N sample, L MoE layer, E expert.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mascing.errors import DataError
from mascing.schemas.settings.method_settings import ExpertScore, Pairs
from mascing.traces.counting import selections
from mascing.traces.trace_set import Traces, TraceSet


@dataclass(frozen=True)
class Selections:
    """How often the tokens of each side selected each expert.

    ``selected_SLE`` is int64 [2, L, E], ``tokens_SL`` is int64 [2, L].
    """

    selected_SLE: Tensor
    tokens_SL: Tensor

    def risk_difference(self) -> Tensor:
        """Return A1 / N1 - A2 / N2, positive minus negative side: float32 [L, E]."""
        rates_SLE = self.selected_SLE / self.tokens_SL[..., None]
        return rates_SLE[1] - rates_SLE[0]

    def log_odds_ratio(self) -> Tensor:
        """Return the log ratio of the odds of selection, positive over negative side: float32 [L, E].

        Each of the four counts gets one half added (Haldane 1956, Anscombe 1956), so that the ratio is finite for an
        expert that one side never selects.
        """
        on_SLE = self.selected_SLE + 0.5
        off_SLE = self.tokens_SL[..., None] - self.selected_SLE + 0.5
        log_odds_SLE = (on_SLE / off_SLE).log()
        return log_odds_SLE[1] - log_odds_SLE[0]

    def score(self, name: ExpertScore) -> Tensor:
        """Return the score of this name, float32 [L, E]: positive for experts of the behaviour, negative against it."""
        return self.risk_difference() if name == "risk_difference" else self.log_odds_ratio()


@dataclass(frozen=True)
class CountedTraces(Selections):
    """Selections counted over traces: the number of counted traces, and that of traces without a partner."""

    samples: int
    left_out: int


def count_selections(traces: Traces, pairs: Pairs = "matched") -> CountedTraces:
    """Count, over the tokens of the pairs, how often the model selected each expert.

    ``matched`` counts all traces: matching already made pairs of the contrast. ``group`` counts only pairs about one
    question: the first positive trace of a group with its first negative one, and so on. A trace without a partner is
    left out. As in the paper, the tokens of all pairs are pooled. No logits are read. Raises DataError if there is no
    pair.
    """
    traces = traces.without_logits()
    labels, groups = _labels_and_groups(traces)
    keep_N = _with_partner(labels, groups) if pairs == "group" else torch.ones(len(labels)).bool()
    sides_N = torch.where(keep_N, torch.tensor(labels), -1)
    _require_both_sides(sides_N, pairs)
    counts, start = [], 0
    for part in traces.parts():
        counts.append(_count(part, sides_N[start : start + len(part)]))
        start += len(part)
    selected_SLE = torch.stack([selected for selected, _ in counts]).sum(dim=0)
    tokens_SL = torch.stack([tokens for _, tokens in counts]).sum(dim=0)[:, None].expand(selected_SLE.shape[:2])
    return CountedTraces(selected_SLE, tokens_SL, samples=int(keep_N.sum()), left_out=int((~keep_N).sum()))


def _labels_and_groups(traces: Traces) -> tuple[list[int], list[str]]:
    labels: list[int] = []
    groups: list[str] = []
    for part in traces.parts():
        labels += part.labels.tolist()
        groups += part.groups
    return labels, groups


def _count(part: TraceSet, sides_N: Tensor) -> tuple[Tensor, Tensor]:
    """Return the selections [2, L, E] and tokens [2] of each side, int64; side -1 is left out."""
    sides_T = sides_N.remainder(3).repeat_interleave(part.offsets.diff())  # -1 is a third side, which is dropped
    counted = selections(part.selected, sides_T, 3, part.z.shape[2])
    return torch.stack([sides_SE[:2] for sides_SE in counted], dim=1), sides_T.bincount(minlength=3)[:2]


def _with_partner(labels: Sequence[int], groups: Sequence[str]) -> Tensor:
    """Return which samples have a partner: equally many positive and negative ones of each group, the first of each."""
    members: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for index, (label, group) in enumerate(zip(labels, groups, strict=True)):
        members[group][label].append(index)
    keep_N = torch.zeros(len(labels), dtype=torch.bool)
    for negative, positive in members.values():
        n_pairs = min(len(negative), len(positive))
        keep_N[negative[:n_pairs] + positive[:n_pairs]] = True
    return keep_N


def _require_both_sides(sides_N: Tensor, pairs: Pairs) -> None:
    missing = [name for side, name in enumerate(("negative", "positive")) if not (sides_N == side).any()]
    if missing and pairs == "group":
        raise DataError(
            "no group of the training split has both a positive and a negative conversation: give the two of a pair "
            "one group_id, or count pairs matched across groups with `methods.steermoe.pairs: matched`"
        )
    if missing:
        raise DataError(f"no {' and no '.join(missing)} traces: a risk difference compares two classes")
