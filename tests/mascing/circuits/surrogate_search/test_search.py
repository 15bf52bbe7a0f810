from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from mascing.circuits.surrogate_search.exact import epochs
from mascing.circuits.surrogate_search.search import candidates, search
from mascing.errors import DataError
from mascing.schemas.settings.method_settings import MascingConfig, Span
from mascing.surrogates.surrogate import Surrogate, score, train_surrogate
from mascing.traces.trace_set import TraceSet
from tests.mascing.circuits.surrogate_search.published_loop import published_search, surrogate_logits
from tests.mascing.made_traces import SPEC, TELLING, traces
from tests.mascing.mask_rules import bias_of


@pytest.fixture(scope="module")
def data() -> TraceSet:
    return traces(60)


@pytest.fixture(scope="module")
def surrogate(data: TraceSet) -> Surrogate:
    return train_surrogate(data, epochs=12, seed=0)


def samples_of(traces: TraceSet) -> list[Tensor]:
    return [traces.subset([number]).z for number in range(len(traces))]


def held_out_objective(member: Surrogate, held_out: TraceSet, sigma: Tensor, weight: float, S_LE: Tensor) -> float:
    """Mean BCE towards the positive class plus the L1 term, of one S."""
    logits = surrogate_logits_of(member, held_out, sigma[:, None] * S_LE)
    return float(torch.nn.functional.softplus(-logits).mean() + weight * S_LE.abs().sum())


def surrogate_logits_of(member: Surrogate, traces: TraceSet, delta_LE: Tensor) -> Tensor:
    z_NTLE, mask_NT = traces.padded(range(len(traces)))
    with torch.no_grad():
        return surrogate_logits(member.state_dict(), z_NTLE + delta_LE, mask_NT.sum(dim=1))


def test_the_exact_mode_is_the_published_search_loss_by_loss(data: TraceSet, surrogate: Surrogate) -> None:
    config = MascingConfig(mode="exact", search_epochs=4, lambdas=(0.0, 0.01), thresholds=(0.0,))
    negatives = data.labelled(0)
    walked = list(epochs([surrogate], negatives, data.sigma(), config, 5))
    for place, weight in enumerate(config.lambdas):
        losses: list[float] = []
        S_LE = published_search(
            surrogate.state_dict(), samples_of(negatives), data.sigma(), weight, 4, 5, losses.append
        )
        assert [float(loss[place]) for part, _ in walked for loss in part] == pytest.approx(losses, rel=2e-4)
        assert torch.allclose(walked[-1][1][place], S_LE, atol=1e-4)
        assert losses[-1] < losses[0] - 0.1


def test_members_weigh_alike(data: TraceSet, surrogate: Surrogate) -> None:
    config = MascingConfig(mode="exact", search_epochs=2, lambdas=(0.01,))
    other = train_surrogate(data, epochs=2, seed=1)
    alone, twice, mixed = (
        search(members, data, data.sigma(), config, 5) for members in ([surrogate], [surrogate] * 2, [surrogate, other])
    )
    assert torch.allclose(alone, twice, atol=1e-5)
    assert not torch.allclose(alone, mixed, atol=1e-2)


def test_the_fast_mode_reaches_a_held_out_objective_no_worse() -> None:
    data, held_out, lambdas = traces(200), traces(100, seed=1).labelled(0), (0.0, 1e-3, 0.03)
    surrogate = train_surrogate(data, epochs=6, seed=0)
    fast, exact = (
        search([surrogate], data, data.sigma(), config, 0)
        for config in (MascingConfig(lambdas=lambdas), MascingConfig(mode="exact", lambdas=lambdas, search_epochs=20))
    )
    for weight, fast_LE, exact_LE in zip(lambdas, fast, exact, strict=True):
        objectives = [
            held_out_objective(surrogate, held_out, data.sigma(), weight, S) for S in (fast_LE, exact_LE, 0 * fast_LE)
        ]
        assert objectives[0] < objectives[1]
        assert objectives[0] < objectives[2] / 4


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_the_surrogate_is_won_over_and_finds_the_telling_expert(
    data: TraceSet, surrogate: Surrogate, mode: Literal["fast", "exact"]
) -> None:
    config = MascingConfig(mode=mode, search_epochs=100, lambdas=(0.03,))
    (S_LE,) = search([surrogate], data, data.sigma(), config, 0)
    negatives = data.subset([number for number in range(len(data)) if data.labels[number] == 0])
    steered = replace(negatives, z=(negatives.z + data.sigma()[:, None] * S_LE).half())
    assert (score(surrogate, negatives) > 0).float().mean() < 0.2
    assert (score(surrogate, steered) > 0).float().mean() > 0.8
    layer, expert = TELLING
    assert int(S_LE[layer].argmax()) == expert


def test_a_larger_lambda_leaves_fewer_experts_and_small_entries_are_zeroed(
    data: TraceSet, surrogate: Surrogate
) -> None:
    config = MascingConfig(lambdas=(0.0, 0.03), thresholds=(0.1,))
    free, sparse = search([surrogate], data, data.sigma(), config, 0)
    assert sparse.count_nonzero() < free.count_nonzero()
    for S_LE in (free, sparse):
        assert S_LE[S_LE != 0].abs().min() > 0.1


def test_one_candidate_a_cell_whose_bias_is_alpha_sigma_S(data: TraceSet, surrogate: Surrogate) -> None:
    spans: tuple[Span, ...] = ("question", "question+prompt")
    config = MascingConfig(spans=spans, lambdas=(0.0, 0.01), thresholds=(0.1, 0.3), alphas=(0.5, 2.0))
    proposed = candidates({span: [surrogate] for span in spans}, data, SPEC, data.sigma(), config, 0)
    assert [tuple(candidate.cell.values()) for candidate in proposed] == [
        (span, weight, threshold, alpha)
        for span in spans
        for weight in (0.0, 0.01)
        for threshold in (0.1, 0.3)
        for alpha in (0.5, 2.0)
    ]
    (_, S_LE) = search([surrogate], data.span("question"), data.sigma(), config, 0)
    weak, strong = bias_of(proposed[5].mask), bias_of(proposed[7].mask)
    assert torch.allclose(weak, 2.0 * data.sigma()[:, None] * S_LE)
    assert torch.allclose(strong, torch.where(S_LE.abs() > 0.3, weak, 0.0))
    assert proposed[7].method == "mascing"
    assert proposed[7].mask.provenance == {
        "method": "mascing",
        "mode": "fast",
        "span": "question",
        "lambda": 0.01,
        "threshold": 0.3,
        "alpha": 2.0,
    }


def test_the_seed_decides_and_the_surrogate_is_left_as_it_was(data: TraceSet, surrogate: Surrogate) -> None:
    config = MascingConfig()
    before = torch.random.get_rng_state()
    first, repeated, other = (search([surrogate], data, data.sigma(), config, seed) for seed in (1, 1, 2))
    assert torch.equal(first, repeated)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(parameter.requires_grad for parameter in surrogate.parameters())


def test_without_negative_traces_there_is_nothing_to_steer(surrogate: Surrogate) -> None:
    positive = traces(6).subset([1, 3, 5])
    with pytest.raises(DataError, match="negative"):
        search([surrogate], positive, positive.sigma(), MascingConfig(), 0)
