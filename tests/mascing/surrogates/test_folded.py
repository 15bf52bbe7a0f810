import pytest
import torch
from torch import Tensor

from mascing.surrogates import folded as folded_surrogate
from mascing.surrogates.folded import FoldedSurrogate, statistics_of
from mascing.surrogates.surrogate import Surrogate
from mascing.traces.trace_set import TraceSet
from tests.mascing.circuits.surrogate_search.published_loop import surrogate_logits
from tests.mascing.made_traces import SPEC, traces


def drawn_surrogate() -> Surrogate:
    """Weights with nothing at its default, so that gamma, beta and every bias count."""
    surrogate, generator = Surrogate(SPEC.n_experts, SPEC.n_layers), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in surrogate.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return surrogate


def by_length(data: TraceSet) -> list[int]:
    lengths = data.offsets.diff().tolist()
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])


@pytest.mark.parametrize("chunk_tokens", [7, 4096])
def test_it_is_the_surrogate_of_the_shifted_logits_and_so_is_its_gradient(
    chunk_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folded_surrogate, "CHUNK_TOKENS", chunk_tokens)
    data, surrogate = traces(6, lengths=[3, 1, 8, 3, 5, 1]), drawn_surrogate()
    generator = torch.Generator().manual_seed(1)
    delta_CLE = torch.randn(2, SPEC.n_layers, SPEC.n_experts, generator=generator).requires_grad_()
    weights_CN = torch.randn(2, 6, generator=generator)

    folded_CN = FoldedSurrogate(surrogate, statistics_of(data)).logits(delta_CLE)
    z_NTLE, mask_NT = data.padded(by_length(data))
    logits = [surrogate_logits(surrogate.state_dict(), z_NTLE + delta, mask_NT.sum(dim=1)) for delta in delta_CLE]
    plain_CN = torch.stack(logits)
    assert torch.allclose(folded_CN, plain_CN, atol=1e-5)
    gradients: list[Tensor] = [
        torch.autograd.grad((weights_CN * logits_CN).sum(), delta_CLE)[0] for logits_CN in (folded_CN, plain_CN)
    ]
    assert torch.allclose(gradients[0], gradients[1], atol=1e-5)
    assert gradients[1].abs().max() > 1e-2


def test_the_surrogate_is_left_as_it_was() -> None:
    surrogate = drawn_surrogate()
    before = {name: value.clone() for name, value in surrogate.state_dict().items()}
    shift = torch.ones(1, SPEC.n_layers, SPEC.n_experts, requires_grad=True)
    torch.autograd.backward(FoldedSurrogate(surrogate, statistics_of(traces(4))).logits(shift).sum())
    assert all(torch.equal(value, before[name]) for name, value in surrogate.state_dict().items())
    assert all(parameter.grad is None for parameter in surrogate.parameters())


def test_it_is_evaluated_where_surrogate_and_traces_are() -> None:
    """No GPU is needed to see that nothing is left behind on the CPU: the meta device refuses to be mixed."""
    folded = FoldedSurrogate(drawn_surrogate().to("meta"), statistics_of(traces(6).on("meta")))
    delta_CLE = torch.zeros(2, SPEC.n_layers, SPEC.n_experts, device="meta", requires_grad=True)
    logits_CN = folded.logits(delta_CLE)
    [gradient_CLE] = torch.autograd.grad(logits_CN.sum(), delta_CLE)
    assert logits_CN.device.type == gradient_CLE.device.type == "meta"
