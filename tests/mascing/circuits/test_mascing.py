import pytest
import torch
from made_traces import SPEC, TELLING, traces
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from mascing.circuits.mascing import BATCH, candidates, search
from mascing.errors import DataError
from mascing.surrogate import Surrogate, score, train_surrogate
from mascing.traces import TraceSet
from schemas.config import MascingConfig, Span


@pytest.fixture(scope="module")
def data() -> TraceSet:
    return traces(60)


@pytest.fixture(scope="module")
def surrogate(data: TraceSet) -> Surrogate:
    return train_surrogate(data, epochs=12, seed=0)


def published_loop(members: list[Surrogate], data: TraceSet, weight: float, epochs: int, seed: int) -> Tensor:
    """The published search for one lambda, one sample and one surrogate after the other: S before thresholding."""
    negatives = [number for number in range(len(data)) if data.labels[number] == 0]
    generator = torch.Generator().manual_seed(seed)
    S_LE = torch.nn.init.kaiming_uniform_(torch.empty(SPEC.n_layers, SPEC.n_experts), generator=generator)
    S_LE.requires_grad_()
    optimizer = torch.optim.Adam([S_LE], lr=0.05)
    for _ in range(epochs):
        order = torch.randperm(len(negatives), generator=generator).tolist()
        for start in range(0, len(order), BATCH):
            losses = []
            for position in order[start : start + BATCH]:
                z_1TLE, mask_1T = data.padded([negatives[position]])
                steered = z_1TLE + S_LE * data.sigma()[:, None]
                for member in members:
                    losses.append(binary_cross_entropy_with_logits(member(steered, mask_1T), torch.ones(1)))
            loss = torch.stack(losses).mean() + weight * S_LE.abs().sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return S_LE.detach()


def quiet(epoch: int) -> None:
    del epoch


@pytest.mark.parametrize("size", [1, 2])
def test_each_lambda_is_the_published_search(data: TraceSet, surrogate: Surrogate, size: int) -> None:
    members = [surrogate, train_surrogate(data, epochs=2, seed=1)][:size]
    config = MascingConfig(search_epochs=3, lambdas=(0.0, 0.01), threshold=0.0)
    together = search(members, data, SPEC, data.sigma(), config, 5, quiet)
    for weight, S_LE in zip(config.lambdas, together, strict=True):
        assert torch.allclose(S_LE, published_loop(members, data, weight, 3, 5), atol=1e-4)


def test_the_surrogate_is_won_over_and_finds_the_telling_expert(data: TraceSet, surrogate: Surrogate) -> None:
    config = MascingConfig(search_epochs=100, lambdas=(0.03,))
    (S_LE,) = search([surrogate], data, SPEC, data.sigma(), config, 0, quiet)
    negatives = data.subset([number for number in range(len(data)) if data.labels[number] == 0])
    steered = TraceSet(
        (negatives.z + data.sigma()[:, None] * S_LE).half(),
        negatives.offsets,
        negatives.labels,
        negatives.regions,
        negatives.ids,
        negatives.groups,
    )
    assert (score(surrogate, negatives) > 0).float().mean() < 0.2
    assert (score(surrogate, steered) > 0).float().mean() > 0.8
    layer, expert = TELLING
    assert int(S_LE[layer].argmax()) == expert


def test_a_larger_lambda_leaves_fewer_experts_and_small_entries_are_zeroed(
    data: TraceSet, surrogate: Surrogate
) -> None:
    config = MascingConfig(search_epochs=15, lambdas=(0.0, 0.03), threshold=0.1)
    free, sparse = search([surrogate], data, SPEC, data.sigma(), config, 0, quiet)
    assert sparse.count_nonzero() < free.count_nonzero()
    for S_LE in (free, sparse):
        assert S_LE[S_LE != 0].abs().min() > 0.1


def test_one_candidate_a_cell_whose_bias_is_alpha_sigma_S(data: TraceSet, surrogate: Surrogate) -> None:
    spans: tuple[Span, ...] = ("question", "question+prompt")
    config = MascingConfig(spans=spans, search_epochs=2, lambdas=(0.0, 0.01), alphas=(0.5, 2.0))
    found = candidates({span: [surrogate] for span in spans}, data, SPEC, data.sigma(), config, 0)
    assert [tuple(candidate.cell.values()) for candidate in found] == [
        (span, weight, alpha) for span in spans for weight in (0.0, 0.01) for alpha in (0.5, 2.0)
    ]
    (_, S_LE) = search([surrogate], data.span("question"), SPEC, data.sigma(), config, 0, quiet)
    bias = found[3].mask.bias
    assert bias is not None
    assert torch.allclose(bias, 2.0 * data.sigma()[:, None] * S_LE)
    assert found[3].method == "mascing"
    assert found[3].mask.provenance == {"method": "mascing", "span": "question", "lambda": 0.01, "alpha": 2.0}


def test_the_seed_decides_and_the_surrogate_is_left_as_it_was(data: TraceSet, surrogate: Surrogate) -> None:
    config = MascingConfig(search_epochs=1)
    before = torch.random.get_rng_state()
    first, again, other = (search([surrogate], data, SPEC, data.sigma(), config, seed, quiet) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(parameter.requires_grad for parameter in surrogate.parameters())


def test_progress_counts_epochs_over_all_spans(data: TraceSet, surrogate: Surrogate) -> None:
    seen: list[tuple[int, int]] = []
    surrogates: dict[Span, list[Surrogate]] = {"question": [surrogate], "question+prompt": [surrogate]}
    config = MascingConfig(search_epochs=2)
    candidates(surrogates, data, SPEC, data.sigma(), config, 0, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_without_negative_traces_there_is_nothing_to_steer(surrogate: Surrogate) -> None:
    positive = traces(6).subset([1, 3, 5])
    with pytest.raises(DataError, match="negative"):
        search([surrogate], positive, SPEC, positive.sigma(), MascingConfig(search_epochs=1), 0, quiet)
