import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, OlmoeForCausalLM

from mascing.errors import MaskError, SteeringError
from mascing.masks.mask import Mask
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.routers.tap import tap_routers
from mascing.steering.steer import steer
from tests.mascing.tiny_olmoe import tiny_olmoe, tokens


@pytest.fixture
def model() -> OlmoeForCausalLM:
    return tiny_olmoe()


@pytest.fixture
def spec(model: OlmoeForCausalLM) -> RouterSpec:
    return inspect_routers(model)


def a_bias(spec: RouterSpec, seed: int = 0) -> Mask:
    return Mask.from_bias(torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)) * 2, spec)


def an_override(spec: RouterSpec) -> Mask:
    on, off = torch.zeros(2, 3, 8, dtype=torch.bool)
    on[:, 3], off[:, 5] = True, True
    return Mask.from_override(on, off, torch.zeros(3, 8), spec)


def test_a_mask_is_in_force_until_it_is_removed(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    x = tokens(2, 6)
    plain = model(x).logits
    handle = steer(model, a_bias(spec))
    assert not torch.allclose(model(x).logits, plain)
    handle.remove()
    handle.remove()
    assert torch.equal(model(x).logits, plain)
    with steer(model, a_bias(spec)):
        pass
    assert torch.equal(model(x).logits, plain)
    assert "generate" not in vars(model)


def test_counters_tell_the_tokens_that_each_layer_steered(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    with steer(model, a_bias(spec)) as handle:
        assert handle.counters == {0: 0, 1: 0, 2: 0}
        model(tokens(2, 6))
        assert handle.counters == {0: 12, 1: 12, 2: 12}
    with steer(model, [a_bias(spec), None, None]) as handle:
        model(tokens(3, 6))
        assert handle.counters == {0: 6, 1: 6, 2: 6}
        handle.swap([a_bias(spec), a_bias(spec, 1), None])
        assert handle.counters == {0: 6, 1: 6, 2: 6}
        model(tokens(3, 2))
        assert handle.counters == {0: 10, 1: 10, 2: 10}
    with tap_routers(model, lambda layer, logits: logits):
        model(tokens(1, 6))
        with steer(model, a_bias(spec)) as handle:
            assert handle.counters == {0: 0, 1: 0, 2: 0}


def test_a_swapped_mask_is_in_force_at_once_and_counts_on(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    x = tokens(2, 6)
    with steer(model, a_bias(spec, 1)):
        wanted = model(x).logits
    with steer(model, a_bias(spec, 0)) as handle:
        assert not torch.allclose(model(x).logits, wanted)
        handle.swap(a_bias(spec, 1))
        assert torch.equal(model(x).logits, wanted)
        assert handle.counters[0] == 24


def test_a_swap_that_needs_another_installation_is_refused(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    x = tokens(2, 6)
    with steer(model, a_bias(spec)) as handle:
        before = model(x).logits
        for other in (an_override(spec), [a_bias(spec), a_bias(spec)]):
            with pytest.raises(MaskError, match="remove it and steer again"):
                handle.swap(other)
        with pytest.raises(MaskError, match="another model"):
            handle.swap(a_bias(inspect_routers(tiny_olmoe(seed=1))))
        assert torch.equal(model(x).logits, before)


def test_a_removed_handle_does_not_pretend_to_steer(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    handle = steer(model, a_bias(spec))
    handle.remove()
    with pytest.raises(SteeringError, match="was removed and steers nothing"):
        handle.swap(a_bias(spec, 1))
    with pytest.raises(SteeringError, match="was removed and steers nothing"), handle:
        pass


def test_a_generate_of_the_users_own_goes_through_steering_and_is_there_afterwards(
    model: OlmoeForCausalLM, spec: RouterSpec
) -> None:
    prompts: list[int] = []

    def own(*args: Any, **kwargs: Any) -> Any:
        prompts.append(len(args[0]))
        return OlmoeForCausalLM.generate(model, *args, **kwargs)

    model.generate = own
    with steer(model, [a_bias(spec), None]):
        model.generate(tokens(2, 4), max_new_tokens=1)
    assert model.generate is own
    assert prompts == [2]


def test_two_steerings_do_not_stack_silently(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    x = tokens(1, 6)
    with steer(model, a_bias(spec)) as handle:
        steered = model(x).logits
        with pytest.raises(SteeringError, match="already steered"):
            steer(model, a_bias(spec, 1))
        with pytest.raises(SteeringError, match="already steered"):
            steer(copy.deepcopy(model), a_bias(spec, 1))
        assert torch.equal(model(x).logits, steered)
        handle.remove()
        with steer(model, a_bias(spec, 1)):
            assert not torch.equal(model(x).logits, steered)


def test_a_mask_of_another_model_is_refused(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    other = tiny_olmoe(seed=1)
    with pytest.raises(MaskError, match=r"another model.*fingerprint.*float16 can change the fingerprint$"):
        steer(other, a_bias(spec))
    with pytest.raises(MaskError, match=r"inspect_routers\(model\) of this model$"):
        steer(other, a_bias(replace(spec, family="mixtral")))
    with torch.no_grad():
        model.model.layers[2].mlp.gate.weight[4, 7] += 0.5
    with pytest.raises(MaskError, match="another model"):
        steer(model, a_bias(spec))


def test_a_mask_of_another_size_is_refused(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    wide = RouterSpec("olmoe", spec.layer_ids, 16, 2, spec.scoring, spec.fingerprint)
    deep = RouterSpec("olmoe", (0, 1, 2, 3), 8, 2, spec.scoring, spec.fingerprint)
    for other in (wide, deep):
        with pytest.raises(MaskError, match="the model has 3 x 8"):
            steer(model, Mask.from_bias(torch.zeros(other.n_layers, other.n_experts), other))
    with pytest.raises(MaskError, match="no mask given"):
        steer(model, [])


def test_masks_for_rows_hold_for_exactly_those_rows(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    with steer(model, [a_bias(spec), None]):
        for rows in (1, 3, 4):
            with pytest.raises(SteeringError, match=f"given for 2 rows, but the batch has {rows}"):
                model(tokens(rows, 5))
            with pytest.raises(SteeringError, match=f"given for 2 rows, but {rows} prompts"):
                model.generate(tokens(rows, 5), max_new_tokens=2)
        model.generate(tokens(2, 5), max_new_tokens=2, num_beams=2)
        with pytest.raises(SteeringError, match="the batch has 4"):
            model(tokens(4, 5))
    model(tokens(3, 5))


def test_a_list_of_one_mask_is_for_one_row(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    x = tokens(3, 5)
    with steer(model, a_bias(spec)):
        wanted = model(x[:1]).logits
    with steer(model, [a_bias(spec)]) as handle:
        assert torch.equal(model(x[:1]).logits, wanted)
        model.generate(x[:1], max_new_tokens=2, num_beams=2)
        with pytest.raises(SteeringError, match=r"for 1 row, but the batch has 3: .*a bare mask for all rows"):
            model(x)
        with pytest.raises(SteeringError, match="for 1 row, but 3 prompts"):
            model.generate(x, max_new_tokens=2)
        with pytest.raises(MaskError, match=r"steers 1 row\(s\) .* for all rows .*: remove it and steer again"):
            handle.swap(a_bias(spec))
    with steer(model, a_bias(spec)) as handle, pytest.raises(MaskError, match="remove it and steer again"):
        handle.swap([a_bias(spec)])


def test_a_row_without_a_mask_is_as_in_the_unsteered_batch(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    x = tokens(3, 6)
    plain = model(x).logits
    with steer(model, [a_bias(spec), None, an_override(spec)]):
        steered = model(x).logits
    # Experts multiply the tokens of all rows together, so other rows' selections may change the rounding.
    torch.testing.assert_close(steered[1], plain[1], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(steered[0], plain[0])
    assert not torch.allclose(steered[2], plain[2])


def test_continuous_batching_is_refused_for_rows(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    prompts = [[5, 6, 7], [8, 9]]
    with (
        steer(model, [a_bias(spec), None]),
        pytest.raises(SteeringError, match="continuous batching packs requests into one row"),
    ):
        model.generate_batch(prompts, generation_config=GenerationConfig(max_new_tokens=2), progress_bar=False)


@pytest.mark.parametrize(("kind", "rows"), [(a_bias, True), (an_override, False)], ids=["bias by row", "override"])
def test_a_compiled_model_is_proved_and_steered(
    model: OlmoeForCausalLM, spec: RouterSpec, kind: Callable[[RouterSpec], Mask], rows: bool
) -> None:
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    x = tokens(2, 2)
    with torch.no_grad(), steer(compiled, [kind(spec), None] if rows else kind(spec)) as handle:
        ours = compiled(input_ids=x, use_cache=False).logits
        counted = dict(handle.counters)
        torch.testing.assert_close(ours, model(x, use_cache=False).logits, rtol=1e-5, atol=1e-5)
        assert set(counted.values()) == {2 if rows else 4}


def test_a_mask_installed_after_compiling_is_in_force(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    torch._dynamo.reset()
    compiled: Any = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    x = tokens(1, 2)
    with torch.no_grad():
        plain = compiled(input_ids=x, use_cache=False).logits
        with steer(model, a_bias(spec)) as handle:
            handle.prove(compiled)
            steered = compiled(input_ids=x, use_cache=False).logits
        assert not torch.allclose(steered, plain)
        assert torch.equal(compiled(input_ids=x, use_cache=False).logits, plain)


def test_a_callable_that_is_not_of_this_model_fails_its_proof(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    with steer(model, a_bias(spec)) as handle:
        with pytest.raises(SteeringError, match=r"model\.layers\.0\.mlp\.gate \(0 times, 0 rows\)"):
            handle.prove(tiny_olmoe())
        assert handle.counters == {0: 0, 1: 0, 2: 0}


def test_steering_goes_with_other_taps(model: OlmoeForCausalLM, spec: RouterSpec) -> None:
    watched: list[Tensor] = []

    def look(layer: int, logits: Tensor) -> Tensor:
        watched.append(logits.detach())
        return logits

    mask = a_bias(spec)
    with steer(model, mask):
        with tap_routers(model, look):
            watched.clear()
            raw = model(tokens(1, 4), output_router_logits=True).router_logits
        assert torch.equal(watched[0], raw[0])
        model(tokens(1, 4))


def test_a_model_in_bfloat16_is_steered_as_in_float32_up_to_rounding(spec: RouterSpec) -> None:
    low = tiny_olmoe(dtype=torch.bfloat16)
    exact = tiny_olmoe()
    with torch.no_grad():
        for parameter, rounded in zip(exact.parameters(), low.parameters(), strict=True):
            parameter.copy_(rounded.float())
    x = tokens(1, 1)
    with steer(low, an_override(inspect_routers(low))), steer(exact, an_override(inspect_routers(exact))):
        torch.testing.assert_close(low(x).logits.float(), exact(x).logits, rtol=0.1, atol=0.3)
