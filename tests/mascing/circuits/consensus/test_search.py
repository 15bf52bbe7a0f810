from typing import Any

import pytest
import torch

from mascing.circuits.consensus.pattern import agreement, consensus, patterns
from mascing.circuits.consensus.search import candidates
from mascing.schemas.settings.method_settings import ConsensusConfig
from mascing.surrogates.ensemble import member_seeds
from mascing.surrogates.surrogate import Surrogate, score, train_surrogate, untrained
from mascing.traces.trace_set import TraceSet
from tests.mascing.made_traces import SPEC, TELLING, traces
from tests.mascing.mask_rules import bias_of


@pytest.fixture(scope="module")
def data() -> TraceSet:
    return traces(60)


@pytest.fixture(scope="module")
def members(data: TraceSet) -> list[Surrogate]:
    return [train_surrogate(data, epochs=12, seed=seed) for seed in member_seeds(0, 3)]


def test_a_pattern_is_the_correlation_of_mean_logits_with_the_output(data: TraceSet, members: list[Surrogate]) -> None:
    means = torch.stack([data.subset([number]).z.float().mean(dim=0) for number in range(len(data))])
    output = score(members[1], data).tanh()
    layer, expert = TELLING
    expected = torch.corrcoef(torch.stack([means[:, layer, expert], output]))[0, 1]
    found = patterns(members, data)
    assert found.shape == (3, *means.shape[1:])
    assert float(found[1, layer, expert]) == pytest.approx(float(expected), abs=1e-4)


def test_the_telling_expert_is_the_strongest_and_seeds_agree(data: TraceSet, members: list[Surrogate]) -> None:
    found = patterns(members, data)
    S_LE = consensus(found)
    assert divmod(int(S_LE.abs().argmax()), S_LE.shape[1]) == TELLING
    assert S_LE[TELLING] > 0
    assert agreement(found) > 0.9


def test_an_expert_whose_sign_the_members_dispute_is_left_alone() -> None:
    found = torch.tensor([[[0.6, -0.2, 0.3]], [[0.4, -0.4, -0.1]]])
    assert torch.allclose(consensus(found), torch.tensor([[0.5, -0.3, 0.0]]))
    assert agreement(found[:1]) == 1


def test_an_output_that_never_changes_has_no_pattern(data: TraceSet) -> None:
    constant = untrained(data.z.shape[2], data.z.shape[1], 0)
    torch.nn.init.zeros_(constant.head.weight)
    assert not patterns([constant], data).any()
    proposal = candidates({"question": [constant]}, data, SPEC, data.sigma(), ConsensusConfig(spans=("question",)))
    assert all(candidate.mask.entries == 0 for candidate in proposal.candidates)


def test_a_cell_moves_a_share_of_all_experts_at_a_strength_in_sigmas(data: TraceSet, members: list[Surrogate]) -> None:
    config = ConsensusConfig(spans=("question",), shares=(0.25, 0.5), alphas=(1.0, 3.0))
    sigma, total = data.sigma(), SPEC.n_layers * SPEC.n_experts
    proposal = candidates({"question": members}, data, SPEC, sigma, config)
    cells: list[dict[str, Any]] = [candidate.cell for candidate in proposal.candidates]
    assert [(cell["share"], cell["alpha"]) for cell in cells] == [(0.25, 1), (0.25, 3), (0.5, 1), (0.5, 3)]
    for cell, candidate in zip(cells, proposal.candidates, strict=True):
        S_LE = bias_of(candidate.mask) / sigma[:, None]
        assert candidate.mask.entries <= round(cell["share"] * total)
        assert float(S_LE[S_LE != 0].square().mean().sqrt()) == pytest.approx(cell["alpha"], rel=1e-4)
        assert candidate.mask.provenance == {"method": "consensus", **cell}
    assert "3 surrogates of question" in proposal.note
