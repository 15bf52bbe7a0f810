"""What is seen of selections: the model's own ids, once a forward, wherever the block keeps them."""

from types import MethodType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from transformers import OlmoeForCausalLM
from transformers.integrations import mxfp4

from mascing.errors import ModelError
from mascing.masks.mask import Mask
from mascing.routers.selected_experts import watch_selections
from mascing.routers.spec import inspect_routers
from mascing.steering.steer import steer
from mascing.traces.recording import record
from tests.mascing.routers.families.family_models import build
from tests.mascing.tiny_olmoe import tiny_olmoe, tokens


@pytest.fixture
def model() -> OlmoeForCausalLM:
    return tiny_olmoe()


class Seen(list[tuple[int, list[list[int]]]]):
    def watch(self, layer: int, ids_NK: Tensor) -> None:
        self.append((layer, ids_NK.sort(dim=1).values.tolist()))


def raw_top_2(model: Any, x: Tensor) -> list[tuple[int, list[list[int]]]]:
    with torch.no_grad(), record(model, selected=False) as trace:
        model(x)
    ids_NLK = trace.logits.flatten(0, 1).topk(2).indices.sort(dim=-1).values
    return [(layer, ids_NLK[:, layer].tolist()) for layer in range(ids_NLK.shape[1])]


def test_every_layer_reports_every_token_once_until_it_is_removed(model: OlmoeForCausalLM) -> None:
    x, seen = tokens(2, 5), Seen()
    with torch.no_grad(), watch_selections(model, seen.watch):
        model(x)
    assert seen == raw_top_2(model, x)


def test_proofs_of_others_are_not_reported(model: OlmoeForCausalLM) -> None:
    spec, seen = inspect_routers(model), Seen()
    mask = Mask.from_bias(torch.zeros(3, 8), spec)
    with watch_selections(model, seen.watch), record(model) as trace, steer(model, [mask, None, mask]):
        assert seen == []
        with watch_selections(model, Seen().watch), torch.no_grad():
            model(tokens(3, 4))
        assert [layer for layer, _ in seen] == [0, 1, 2]
        assert trace.selected.shape == (3, 4, 3, 2)


def test_steering_is_part_of_what_is_seen(model: OlmoeForCausalLM) -> None:
    spec, seen = inspect_routers(model), Seen()
    bias_LE = torch.zeros(3, 8)
    bias_LE[1, 5] = 1e3
    with torch.no_grad(), watch_selections(model, seen.watch), steer(model, Mask.from_bias(bias_LE, spec)):
        model(tokens(2, 5))
    assert all(5 in ids for ids in seen[1][1])
    assert not all(5 in ids for ids in seen[0][1])


def test_a_block_whose_experts_get_no_ids_is_seen_at_its_top_k(model: OlmoeForCausalLM) -> None:
    block, x, seen = model.model.layers[1].mlp, tokens(2, 5), Seen()
    block.__class__ = _BlockOfDenseExperts
    block.chooses = _by_top_k
    with torch.no_grad(), watch_selections(model, seen.watch):
        model(x)
    assert seen == raw_top_2(model, x)


def test_a_selection_that_cannot_be_observed_is_refused(model: OlmoeForCausalLM) -> None:
    block = model.model.layers[1].mlp
    block.__class__ = _BlockOfDenseExperts
    block.chooses = _by_sorting
    with pytest.raises(
        ModelError, match=r"1 of 3 routers select cannot be observed \(first model\.layers\.1\.mlp\.gate"
    ):
        watch_selections(model, Seen().watch)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    with pytest.raises(ModelError, match="cannot be observed"):
        record(model)
    with torch.no_grad(), record(model, selected=False) as trace:
        model(tokens(2, 5))
    assert trace.logits.shape == (2, 5, 3, 8)


def test_a_compiled_model_is_watched() -> None:
    model, x, seen = tiny_olmoe(), tokens(1, 2), Seen()
    wanted = raw_top_2(model, x)
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    with torch.no_grad(), watch_selections(compiled, seen.watch):
        compiled(input_ids=x, use_cache=False)
    assert seen == wanted
    torch._dynamo.reset()


class _RoutingData(NamedTuple):
    gate_scal: Tensor
    expt_hist: Tensor
    n_expts_tot: int
    n_expts_act: int
    expt_data: Any


class _Indices(NamedTuple):
    src_indx: Tensor
    dst_indx: Tensor


class _ExpertsOfKernels(nn.Module):
    def forward(self, hidden: Tensor, routing_data: Any, gather: Any, scatter_idx: Any) -> Tensor:
        return hidden


def test_gpt_oss_in_mxfp4_is_seen_through_what_its_kernels_get(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers' own block and its routing in torch; only the kernels, which need a GPU, are stood in for."""
    routing = SimpleNamespace(
        routing=mxfp4.routing_torch_dist,
        RoutingData=_RoutingData,
        GatherIndx=_Indices,
        ScatterIndx=_Indices,
        compute_expt_data_torch=lambda *_: None,
    )
    monkeypatch.setattr(mxfp4, "triton_kernels_hub", SimpleNamespace(routing=routing), raising=False)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    histogram = torch.histc  # on the CPU only of floats
    monkeypatch.setattr(torch, "histc", lambda ids, **bins: histogram(ids.float(), **bins).int())
    model, x, seen = build("gpt_oss"), tokens(3, 5), Seen()
    for layer in model.model.layers:
        layer.mlp.experts = _ExpertsOfKernels()
        layer.mlp.forward = MethodType(mxfp4.mlp_forward, layer.mlp)
    with torch.no_grad(), watch_selections(model, seen.watch):
        model(x)
    assert seen == raw_top_2(model, x)


_Block = type(tiny_olmoe().model.layers[0].mlp)


class _BlockOfDenseExperts(_Block):  # type: ignore[valid-type, misc]
    """A block that runs all experts and weighs those that are not selected by zero."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        flat = hidden_states.reshape(-1, hidden_states.shape[-1])
        probabilities = nn.functional.linear(flat, self.gate.weight).softmax(-1)
        weights = torch.zeros_like(probabilities).scatter(1, self.chooses(probabilities), 1.0)
        return (flat * weights.sum(dim=1, keepdim=True)).view(hidden_states.shape)


def _by_top_k(probabilities: Tensor) -> Tensor:
    return probabilities.topk(2, dim=-1).indices


def _by_sorting(probabilities: Tensor) -> Tensor:
    return probabilities.argsort(dim=-1, descending=True)[:, :2]
