"""The strongest experts of a contrast beside those of splits by topic and at random.

All splits are read in one pass: the selections of each conversation are counted once and summed over every set of
conversations that a split needs.
Shape suffixes: T token, N sample of a part, R set of conversations, S split, L MoE layer, E expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mascing.errors import DataError
from mascing.schemas.cards.topic_null import Effects, ExpertNull, ListedExpert, Topics
from mascing.topics.splits import QUANTILE, Contrast
from mascing.traces.counting import selections
from mascing.traces.trace_set import Traces, TraceSet

_LISTED = 50
_LISTED_SHARE = 0.1
"""At most this share of all experts is listed, so that the list of a small model is one of its strongest too."""

_Floats = NDArray[np.float64]


def expert_null(traces: Traces, contrast: Contrast, topics: Topics, layer_ids: Sequence[int]) -> ExpertNull:
    """Compare the experts with the largest risk differences with what splits do; ``contrast`` is that of ``traces``.

    A list has 50 experts, and at most a tenth of all. The selections are read once. Raises DataError if a class is
    missing.
    """
    if len(set(contrast.label_C.tolist())) < 2:
        raise DataError("the training split has traces of one class only: a risk difference compares two classes")
    pairs, random_SC = contrast.topic_pairs(), contrast.random_labels()
    sides = [(contrast.label_C == 1, contrast.label_C == 0)]
    sides += [side for pair in pairs for side in pair] + [(row == 1, row == 0) for row in random_SC]
    rates_RLE = _rates(traces, np.array([cell for side in sides for cell in side]))
    differences_SLE = rates_RLE[::2] - rates_RLE[1::2]
    behaviour_LE = differences_SLE[0]
    by_pair = np.split(differences_SLE[1 : -len(random_SC)], np.cumsum([len(pair) for pair in pairs])[:-1])
    topic_SLE = np.array([sides_SLE.mean(axis=0) for sides_SLE in by_pair]) if pairs else None
    random_SLE = differences_SLE[-len(random_SC) :]
    return _null(_Differences(behaviour_LE, topic_SLE, random_SLE), topics, layer_ids)


@dataclass(frozen=True)
class _Differences:
    behaviour_LE: _Floats
    topic_SLE: _Floats | None
    random_SLE: _Floats


def _rates(traces: Traces, sets_RC: NDArray[np.bool_]) -> _Floats:
    """The share of the tokens of each set of conversations that selected each expert [R, L, E]."""
    selected: Tensor | float = 0.0
    tokens: Tensor | float = 0.0
    start = 0
    for part in traces.without_logits().parts():
        sets_RN = torch.from_numpy(sets_RC[:, start : start + len(part)]).double()
        selected = selected + _summed(part, sets_RN)
        tokens = tokens + sets_RN @ part.offsets.diff().double()
        start += len(part)
    assert start == sets_RC.shape[1], "the contrast is not that of the traces"
    rates: _Floats = (torch.as_tensor(selected) / torch.as_tensor(tokens)[:, None, None]).numpy()
    return rates


def _summed(part: TraceSet, sets_RN: Tensor) -> Tensor:
    """How often the conversations of each set selected each expert [R, L, E], layer by layer to hold little."""
    sample_T = torch.arange(len(part)).repeat_interleave(part.offsets.diff())
    counted = selections(part.selected, sample_T, len(part), part.z.shape[2])
    return torch.stack([sets_RN @ counts_NE.double() for counts_NE in counted], dim=1)


def _null(differences: _Differences, topics: Topics, layer_ids: Sequence[int]) -> ExpertNull:
    behaviour = differences.behaviour_LE.ravel()
    n_listed = max(1, min(_LISTED, int(_LISTED_SHARE * len(behaviour))))
    chosen = np.argsort(-np.abs(behaviour), kind="stable")[:n_listed]
    n_experts = differences.behaviour_LE.shape[1]
    topic, random = (_beside(behaviour, chosen, splits) for splits in (differences.topic_SLE, differences.random_SLE))
    assert random is not None
    listed = [
        ListedExpert(
            layer=layer_ids[index // n_experts],
            expert=index % n_experts,
            risk_difference=round(float(behaviour[index]), 5),
            topic=None if topic is None else round(float(topic.limit[place]), 5),
            random=round(float(random.limit[place]), 5),
        )
        for place, index in enumerate(chosen.tolist())
    ]
    return ExpertNull(
        effect=float(np.abs(behaviour[chosen]).mean()),
        listed=tuple(listed),
        topics=topics,
        topic=None if topic is None else topic.effects,
        random=random.effects,
    )


class _Beside(NamedTuple):
    """The 95% quantile of the splits' differences at each listed expert, and what it says of the list."""

    limit: _Floats
    effects: Effects


def _beside(behaviour: _Floats, chosen: NDArray[np.int64], splits_SLE: _Floats | None) -> _Beside | None:
    if splits_SLE is None:
        return None
    splits = np.abs(splits_SLE).reshape(len(splits_SLE), -1)
    effect = np.abs(behaviour[chosen])
    limit = np.quantile(splits[:, chosen], QUANTILE, axis=0)
    below = effect <= limit
    own_S = -np.sort(-splits, axis=1)[:, : len(chosen)].mean(axis=1)
    effects = Effects(
        splits=len(splits),
        below=float(below.mean()),
        of_effect=float(effect[below].sum() / effect.sum()) if effect.any() else 1.0,
        own=float(np.quantile(own_S, QUANTILE)),
        weaker=float((own_S < effect.mean()).mean()),
    )
    return _Beside(limit, effects)
