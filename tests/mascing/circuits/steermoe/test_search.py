from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.circuits.steermoe.search import candidates, strongest_experts
from mascing.masks.candidates import Candidate
from mascing.schemas.settings.method_settings import ExpertScore, Span, SteerMoEConfig
from mascing.traces.trace_set import TraceSet
from tests.mascing.made_traces import SPEC, TELLING, traces
from tests.mascing.mask_rules import override_of


def test_the_telling_expert_is_activated_first() -> None:
    (candidate,) = candidates(traces(40), SPEC, SteerMoEConfig(n_activated=(1,), n_deactivated=(0,)))
    assert sets(candidate)[0].nonzero().tolist() == [list(TELLING)]


def test_the_grid_leaves_out_only_the_empty_cell() -> None:
    spans: tuple[Span, ...] = ("question", "question+prompt")
    scores: tuple[ExpertScore, ...] = ("risk_difference", "odds_ratio")
    config = SteerMoEConfig(spans=spans, scores=scores, n_activated=(0, 2), n_deactivated=(0, 3))
    proposed = candidates(traces(40), SPEC, config)
    assert [tuple(candidate.cell.values()) for candidate in proposed] == [
        (span, score, *counts) for span in spans for score in scores for counts in ((0, 3), (2, 0), (2, 3))
    ]
    for candidate in proposed:
        activated, deactivated = sets(candidate)
        assert int(activated.sum()) == candidate.cell["n_activated"]
        assert int(deactivated.sum()) == candidate.cell["n_deactivated"]
        assert candidate.mask.rule.epsilon == config.epsilon


@pytest.mark.parametrize(
    ("n_activated", "n_deactivated", "forced"),
    [((2,), (0,), ["on", "on"]), ((0,), (2,), ["off", "off"]), ((1,), (1,), ["off", "on"])],
    ids=["activation only", "deactivation only", "both"],
)
def test_a_mask_may_activate_deactivate_or_both(
    n_activated: tuple[int, ...], n_deactivated: tuple[int, ...], forced: list[str]
) -> None:
    (candidate,) = candidates(traces(40), SPEC, SteerMoEConfig(n_activated=n_activated, n_deactivated=n_deactivated))
    assert sorted(row["forced"] for row in candidate.mask.provenance["experts"]) == forced


def test_cells_that_all_do_nothing_are_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="0 in every cell"):
        SteerMoEConfig(n_activated=(0,), n_deactivated=(0,))


def test_the_provenance_names_each_chosen_expert_with_both_scores() -> None:
    data = traces(40)
    (candidate,) = candidates(data, SPEC, SteerMoEConfig(n_activated=(1,), n_deactivated=(0,)))
    counted = count_selections(data)
    assert candidate.mask.provenance == {
        "method": "steermoe",
        **candidate.cell,
        "samples": 40,
        "left_out": 0,
        "experts": [
            {
                "layer": TELLING[0],
                "expert": TELLING[1],
                "forced": "on",
                "risk_difference": pytest.approx(counted.risk_difference()[TELLING].item(), abs=1e-4),
                "odds_ratio": pytest.approx(counted.log_odds_ratio()[TELLING].exp().item(), abs=1e-4),
            }
        ],
    }


@pytest.mark.parametrize("score", ["risk_difference", "odds_ratio"])
def test_the_strongest_are_chosen_and_the_score_is_the_priority(score: ExpertScore) -> None:
    data = traces(40)
    (candidate,) = candidates(data, SPEC, SteerMoEConfig(scores=(score,), n_activated=(2,), n_deactivated=(2,)))
    counted = count_selections(data)
    score_LE = counted.risk_difference() if score == "risk_difference" else counted.log_odds_ratio()
    activated, deactivated = sets(candidate)
    assert sorted(score_LE[activated].tolist()) == sorted(score_LE.flatten().sort().values[-2:].tolist())
    assert sorted(score_LE[deactivated].tolist()) == sorted(score_LE.flatten().sort().values[:2].tolist())
    assert torch.equal(override_of(candidate.mask).priority_LE, score_LE)


def test_the_odds_ratio_prefers_the_rare_expert() -> None:
    """Layer 0, of 100 tokens a side: expert 0 goes from 50 to 70 selections, expert 1 from 1 to 15."""
    sides = [([1] * 1 + [0] * 50 + [2] * 49), ([1] * 15 + [0] * 70 + [2] * 15)]
    selected = torch.tensor(sides[0] + sides[1], dtype=torch.uint8)[:, None, None]
    z_TLE = torch.zeros(200, 1, 4).half()
    names, groups = ["a", "b"], ["g", "g"]
    data = TraceSet(z_TLE, torch.tensor([0, 100, 200]), torch.tensor([0, 1]), torch.zeros(200), names, groups, selected)
    counted = count_selections(data)
    assert strongest_experts(counted.score("risk_difference"), 1, 1).nonzero().tolist() == [[0, 0]]
    assert strongest_experts(counted.score("odds_ratio"), 1, 1).nonzero().tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("caps", "most_activated", "most_deactivated"),
    [
        ({}, SPEC.top_k, SPEC.n_experts - SPEC.top_k),
        ({"max_activated_per_layer": 1, "max_deactivated_per_layer": 2}, 1, 2),
        ({"max_activated_per_layer": 5, "max_deactivated_per_layer": 8}, SPEC.top_k, SPEC.n_experts - SPEC.top_k),
    ],
)
def test_no_layer_exceeds_its_caps_and_every_layer_keeps_top_k(
    caps: dict[str, int], most_activated: int, most_deactivated: int
) -> None:
    (candidate,) = candidates(
        traces(40), SPEC, SteerMoEConfig.model_validate({"n_activated": [24], "n_deactivated": [24], **caps})
    )
    activated, deactivated = sets(candidate)
    assert int(activated.sum(dim=1).max()) == most_activated
    # With no cap of its own, a layer deactivates every expert that is against the behaviour.
    assert int(deactivated.sum(dim=1).max()) == min(most_deactivated, most_negative(candidate))
    assert not (activated & deactivated).any()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(-4, 4), min_size=4, max_size=4), min_size=1, max_size=3),
    st.integers(0, 12),
    st.integers(1, 4),
)
def test_the_choice_is_greedy_over_the_whole_model(scores: list[list[int]], n: int, per_layer: int) -> None:
    """Straight from the rule: take the best expert left, in the order of places among equals, unless it is full."""
    places = [(layer, expert) for layer, row in enumerate(scores) for expert, score in enumerate(row) if score > 0]
    taken: list[tuple[int, int]] = []
    for layer, expert in sorted(places, key=lambda place: -scores[place[0]][place[1]]):
        if len(taken) < n and sum(layer == other for other, _ in taken) < per_layer:
            taken.append((layer, expert))
    chosen_LE = strongest_experts(torch.tensor(scores, dtype=torch.float32), n, per_layer)
    assert sorted(map(tuple, chosen_LE.nonzero().tolist())) == sorted(taken)


def most_negative(candidate: Candidate) -> int:
    """The most experts of negative score in any layer."""
    return int((override_of(candidate.mask).priority_LE < 0).sum(dim=1).max())


def sets(candidate: Candidate) -> tuple[Tensor, Tensor]:
    rule = override_of(candidate.mask)
    return rule.activated_LE, rule.deactivated_LE


def test_a_router_that_selects_groups_first_gets_experts_that_it_can_hold() -> None:
    grouped = replace(SPEC, groups=(4, 1))
    config = SteerMoEConfig(n_activated=(3,), n_deactivated=(2,))
    (candidate,) = candidates(traces(40), grouped, config)
    activated, deactivated = sets(candidate)
    assert int(activated.sum()) == 3
    assert max(len({expert // 2 for expert in layer.nonzero().flatten().tolist()}) for layer in activated) == 1
    assert not deactivated.any()  # a group of two with top-2 can spare none
    assert len(candidate.mask.provenance["experts"]) == candidate.mask.entries
