"""The experts of a contrast beside splits by topic and at random, where circuits are planted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.errors import DataError
from mascing.topics.doubts import chance_doubts, topic_check
from mascing.topics.experts import expert_null
from mascing.topics.score_nulls import score_null
from tests.mascing.topics.planted_topics import EXPERTS, LAYERS, Case, linear_scores, made


def doubts(case: Case, seed: int) -> str:
    """All that is said of a case."""
    found, train, dev = made(case, seed)
    null = expert_null(train, found.train, found.topics, range(LAYERS))
    scores = score_null(linear_scores(train, dev), found.dev, found.topics)
    check = topic_check("reply", null, scores)
    said = [*(check.sentences if check.state != "clear" else ()), *chance_doubts("reply", null)]
    return "; ".join(said)


@pytest.mark.parametrize("seed", range(3))
def test_a_behaviour_whose_topics_are_balanced_is_not_doubted(seed: int) -> None:
    assert doubts(Case(), seed) == ""


def test_a_topic_in_the_guise_of_a_label_is_said_to_be_one() -> None:
    said = doubts(Case(behaviour=0, lean=0.8), 0)
    assert "topic moves the 19 strongest experts as much as the behaviour does: 100% of them" in said
    assert "the surrogate tells topics apart as well as the behaviour" in said


def test_classes_without_a_topic_in_common_are_said_to_differ_in_topic() -> None:
    assert "the classes are about different topics: they share 0% of their" in doubts(Case(behaviour=0, lean=1), 0)


def test_labels_by_chance_leave_the_list_to_chance() -> None:
    found, train, _ = made(Case(behaviour=0, topic=0), 3)
    null = expert_null(train, found.train, found.topics, range(LAYERS))
    assert null.random.weaker < 1
    assert null.random.below + null.random.of_effect > 0


def test_one_class_alone_is_refused() -> None:
    found, train, _ = made(Case(conversations=40), 0)
    contrast = replace(found.train, label_C=np.ones(40, dtype=int))
    with pytest.raises(DataError, match="traces of one class only"):
        expert_null(train, contrast, found.topics, range(LAYERS))


def test_the_differences_are_those_of_the_method_whatever_the_parts() -> None:
    found, train, _ = made(Case(conversations=60), 0)
    null = expert_null(train, found.train, found.topics, [2 * layer for layer in range(LAYERS)])
    by_method = count_selections(train).risk_difference()
    strongest = by_method.abs().flatten().sort(descending=True, stable=True).values[: len(null.listed)]
    assert len(null.listed) == int(0.1 * LAYERS * EXPERTS)
    assert null.effect == pytest.approx(float(strongest.mean()), abs=1e-6)
    for expert in null.listed:
        difference = float(by_method[expert.layer // 2, expert.expert])
        assert expert.risk_difference == pytest.approx(difference, abs=1e-5)


def test_a_topic_split_is_the_mean_difference_within_the_classes() -> None:
    found, train, _ = made(Case(conversations=200), 0)
    contrast = found.train
    pairs = contrast.topic_pairs()
    null = expert_null(train, contrast, found.topics, range(LAYERS))
    assert null.topic is not None
    assert null.topic.splits == len(pairs) >= 20

    def rates(keep_C: np.ndarray) -> torch.Tensor:
        ids = train.subset(np.flatnonzero(keep_C).tolist()).selected.long()
        return torch.stack([ids[:, layer].flatten().bincount(minlength=EXPERTS) for layer in range(LAYERS)]) / len(ids)

    by_pair = [torch.stack([rates(first) - rates(second) for first, second in pair]).mean(dim=0) for pair in pairs]
    for expert in null.listed[:3]:
        sizes = [abs(float(difference[expert.layer, expert.expert])) for difference in by_pair]
        assert expert.topic == pytest.approx(float(np.quantile(sizes, 0.95)), abs=1e-4)
