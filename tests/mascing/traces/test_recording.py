import pytest
import torch
from transformers import OlmoeForCausalLM

from mascing.errors import MascingError
from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.steering.steer import steer
from mascing.traces.recording import record
from tests.mascing.tiny_olmoe import tiny_olmoe, tokens


@pytest.fixture
def model() -> OlmoeForCausalLM:
    return tiny_olmoe()


def test_the_logits_are_the_raw_ones_of_every_token_layer_and_expert(model: OlmoeForCausalLM) -> None:
    x = tokens(2, 5)
    wanted = torch.stack(model(x, output_router_logits=True).router_logits, 1).view(2, 5, 3, 8)
    with record(model) as trace:
        model(x)
    assert torch.equal(trace.logits, wanted)
    assert not trace.logits.requires_grad
    with record(model) as trace:
        model.model(inputs_embeds=model.get_input_embeddings()(x), use_cache=False)
    assert torch.equal(trace.logits, wanted)


def test_several_forwards_follow_each_other_in_time(model: OlmoeForCausalLM) -> None:
    x = tokens(2, 5)
    with record(model) as trace:
        out = model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=4, do_sample=False, eos_token_id=None)
        generated = trace.take()
        with pytest.raises(MascingError, match="no forward"):
            _ = trace.logits
        model(out)
        traced = trace.take()
    # The last generated token is never routed.
    torch.testing.assert_close(generated, traced[:, :-1], rtol=1e-4, atol=1e-4)


def test_the_selected_experts_are_those_that_the_blocks_use(model: OlmoeForCausalLM) -> None:
    used: list[torch.Tensor] = []
    for layer in model.model.layers:
        layer.mlp.experts.register_forward_pre_hook(lambda _, args: used.append(args[1]))
    with record(model) as trace:
        used.clear()
        model(tokens(2, 5))
        model(tokens(2, 3))
    wanted = [torch.stack(used[:3], 1).view(2, 5, 3, 2), torch.stack(used[3:], 1).view(2, 3, 3, 2)]
    assert torch.equal(trace.selected, torch.cat(wanted, 1))
    with record(model, selected=False) as trace:
        model(tokens(2, 5))
    with pytest.raises(MascingError, match="selections were not recorded"):
        _ = trace.selected


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_what_gradient_checkpointing_recomputes_is_not_recorded(model: OlmoeForCausalLM, use_reentrant: bool) -> None:
    x = tokens(2, 5)
    with record(model) as trace, torch.no_grad():
        model(x)
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    model.train()
    runs: list[int] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    with record(model) as recomputed:
        runs.clear()
        model(x, labels=x, use_cache=False).loss.backward()
    assert len(runs) == 2
    torch.testing.assert_close(recomputed.logits, trace.logits)
    assert torch.equal(recomputed.selected, trace.selected)


def test_while_steered_the_logits_are_those_before_the_edit(model: OlmoeForCausalLM) -> None:
    x = tokens(1, 6)
    spec = inspect_routers(model)
    with record(model) as trace:
        model(x)
        plain = trace.take()
        with steer(model, Mask.from_bias(torch.full((3, 8), 2.0).cumsum(-1), spec)):
            model(x)
        steered = trace.take()
    assert torch.equal(steered[:, :, 0], plain[:, :, 0])
    assert not torch.allclose(steered[:, :, 1], plain[:, :, 1])


def test_forwards_of_different_batches_do_not_mix(model: OlmoeForCausalLM) -> None:
    with record(model) as trace:
        model(tokens(2, 4))
        model(tokens(3, 4))
    with pytest.raises(MascingError, match="different batch sizes"):
        _ = trace.logits


def test_a_forward_that_fails_half_way_leaves_nothing(model: OlmoeForCausalLM) -> None:
    x = tokens(2, 5)
    with record(model) as trace:
        broken = model.model.layers[1].register_forward_pre_hook(_fail)
        with pytest.raises(ZeroDivisionError):
            model(x)
        with pytest.raises(MascingError, match="no forward"):
            _ = trace.logits
        broken.remove()
        model(x)
    assert trace.logits.shape[:3] == (2, 5, 3)


def _fail(module: object, args: object) -> None:
    raise ZeroDivisionError


def test_nothing_is_recorded_after_the_block(model: OlmoeForCausalLM) -> None:
    with record(model) as trace:
        model(tokens(1, 4))
    model(tokens(1, 9))
    assert trace.logits.shape == (1, 4, 3, 8)
