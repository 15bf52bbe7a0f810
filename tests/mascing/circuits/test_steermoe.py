import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_traces import SPEC, TELLING, traces
from torch import Tensor

from mascing.circuits.candidates import Candidate
from mascing.circuits.steermoe import candidates, risk_difference
from mascing.errors import DataError
from mascing.mask import Mask
from mascing.traces import TraceSet
from schemas.config import SteerMoEConfig


def counted(data: TraceSet, top_k: int, layer: int, expert: int) -> float:
    """Delta of one expert straight from its definition: A1 / N1 - A2 / N2, counted token by token."""
    active, tokens = [0, 0], [0, 0]
    for sample, label in enumerate(data.labels.tolist()):
        for token in range(int(data.offsets[sample]), int(data.offsets[sample + 1])):
            logits = data.z[token, layer].tolist()
            tokens[label] += 1
            active[label] += sum(other > logits[expert] for other in logits) < top_k
    return active[1] / tokens[1] - active[0] / tokens[0]


@st.composite
def trace_sets(draw: st.DrawFn) -> tuple[TraceSet, int]:
    n_layers, n_experts = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=4))]
    lengths = draw(st.lists(st.integers(1, 4), min_size=len(labels), max_size=len(labels)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    # A permutation for every token and layer: logits without ties.
    z_TLE = torch.rand(sum(lengths), n_layers, n_experts, generator=generator).argsort(-1).half()
    names = [str(number) for number in range(len(labels))]
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    regions = torch.zeros(sum(lengths), dtype=torch.uint8)
    return TraceSet(z_TLE, offsets, torch.tensor(labels), regions, names, names), draw(st.integers(1, n_experts))


@settings(deadline=None, max_examples=60)
@given(trace_sets())
def test_risk_difference_is_its_definition(case: tuple[TraceSet, int]) -> None:
    data, top_k = case
    delta_LE = risk_difference(data, top_k)
    for layer in range(delta_LE.shape[0]):
        for expert in range(delta_LE.shape[1]):
            assert delta_LE[layer, expert].item() == pytest.approx(counted(data, top_k, layer, expert), abs=1e-6)


def test_the_telling_expert_is_activated_first() -> None:
    config = SteerMoEConfig(n_activated=(1,), n_deactivated=(0,))
    (found,) = candidates(traces(40), SPEC, config)
    assert sets(found)[0].nonzero().tolist() == [list(TELLING)]


def test_the_grid_leaves_out_only_the_empty_cell() -> None:
    config = SteerMoEConfig(spans=("question", "question+prompt"), n_activated=(0, 2), n_deactivated=(0, 3))
    found = candidates(traces(40), SPEC, config)
    assert [tuple(candidate.cell.values()) for candidate in found] == [
        (span, *counts) for span in config.spans for counts in ((0, 3), (2, 0), (2, 3))
    ]
    for candidate in found:
        activated, deactivated = sets(candidate)
        assert int(activated.sum()) == candidate.cell["n_activated"]
        assert int(deactivated.sum()) == candidate.cell["n_deactivated"]
        assert candidate.mask.epsilon == config.epsilon
        assert candidate.mask.provenance == {"method": "steermoe", **candidate.cell}


def test_the_strongest_differences_are_chosen() -> None:
    data = traces(40)
    delta_LE = risk_difference(data, SPEC.top_k)
    (found,) = candidates(data, SPEC, SteerMoEConfig(n_activated=(2,), n_deactivated=(2,)))
    activated, deactivated = sets(found)
    assert sorted(delta_LE[activated].tolist()) == sorted(delta_LE.flatten().sort().values[-2:].tolist())
    assert sorted(delta_LE[deactivated].tolist()) == sorted(delta_LE.flatten().sort().values[:2].tolist())
    assert found.mask.priority is not None
    assert torch.equal(found.mask.priority, delta_LE)


def test_no_layer_activates_more_than_top_k_and_every_layer_keeps_top_k() -> None:
    config = SteerMoEConfig(n_activated=(24,), n_deactivated=(24,))
    (found,) = candidates(traces(40), SPEC, config)
    activated, deactivated = sets(found)
    assert int(activated.sum(dim=1).max()) == SPEC.top_k
    assert int(deactivated.sum(dim=1).max()) <= SPEC.n_experts - SPEC.top_k
    assert not (activated & deactivated).any()


def test_a_full_layer_gives_its_place_to_the_next_best_elsewhere() -> None:
    """All large differences lie in layer 0: with top-1 routing the second one to be activated is of another layer."""
    z_TLE = torch.zeros(20, 2, 4)
    z_TLE[:10, 0, 0], z_TLE[10:, 0, 1] = 1.0, 1.0
    z_TLE[:, 1, 2] = torch.tensor([1.0] * 6 + [0.0] * 14)
    z_TLE[:, 1, 3] = 0.5
    data = TraceSet(
        z_TLE.half(), torch.tensor([0, 10, 20]), torch.tensor([1, 0]), torch.zeros(20), ["a", "b"], ["a", "b"]
    )
    spec = type(SPEC)("olmoe", (0, 1), 4, 1, "softmax")
    (found,) = candidates(data, spec, SteerMoEConfig(n_activated=(2,), n_deactivated=(0,)))
    assert sets(found)[0].nonzero().tolist() == [[0, 0], [1, 2]]


@pytest.mark.parametrize("kept", [[0, 2], [1, 3]])
def test_one_class_alone_is_refused(kept: list[int]) -> None:
    with pytest.raises(DataError, match="compares two classes"):
        risk_difference(traces(6).subset(kept), 2)


def sets(candidate: Candidate) -> tuple[Tensor, Tensor]:
    mask: Mask = candidate.mask
    assert mask.activated is not None
    assert mask.deactivated is not None
    return mask.activated, mask.deactivated
