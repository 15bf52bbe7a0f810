"""OLMoE's published routing counts: https://github.com/allenai/OLMoE (Apache-2.0), layers 0, 7 and 15 of 16."""

from itertools import combinations
from pathlib import Path

import pytest
import torch

from mascing.circuits.steermoe.count_files import GivenCounts
from mascing.circuits.steermoe.from_counts import doubt
from mascing.circuits.steermoe.risk_difference import Selections
from mascing.routers.spec import RouterSpec
from tests.external.published import clone_of, counters_of

SPEC = RouterSpec("olmoe", (0, 7, 15), n_experts=64, top_k=8, scoring="softmax-topk")
DOMAINS = ("arxiv", "book", "c4", "github", "wikipedia")


@pytest.fixture(scope="module")
def published() -> Path:
    return clone_of("allenai/OLMoE") / "scripts" / "routing_output"


def counts(published: Path, model: str, domain: str) -> GivenCounts:
    counters = counters_of((published / model / "expert_counts" / f"{domain}.pkl").read_bytes())
    selected_LE = torch.tensor([[counter[expert] for expert in range(SPEC.n_experts)] for counter in counters])
    return GivenCounts(domain, {}, selected_LE, selected_LE.sum(-1) // SPEC.top_k)


def moved(one: GivenCounts, other: GivenCounts) -> float:
    """The mean size of the risk difference, by our code."""
    pair = Selections(torch.stack([one.selected_LE, other.selected_LE]), torch.stack([one.tokens_L, other.tokens_L]))
    return float(pair.risk_difference().abs().mean())


@pytest.mark.parametrize("domain", [*DOMAINS, "tulu"])
def test_each_token_selects_eight_experts_in_every_layer(published: Path, domain: str) -> None:
    given = counts(published, "olmoe", domain)
    assert (given.selected_LE.sum(-1) == SPEC.top_k * given.tokens_L).all()
    assert len(set(given.tokens_L.tolist())) == 1  # all layers saw the same tokens
    assert doubt(given, SPEC) is None


def test_topic_moves_selection_far_more_than_preference_tuning(published: Path) -> None:
    of = {domain: counts(published, "olmoe", domain) for domain in DOMAINS}
    topics = [moved(of[one], of[other]) for one, other in combinations(DOMAINS, 2)]
    tuned = moved(counts(published, "olmoe-sft", "tulu"), counts(published, "olmoe-dpo", "tulu"))
    assert sum(topics) / len(topics) > 20 * tuned
