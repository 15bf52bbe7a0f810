"""A steered model takes one thread at a time, and says so to the others."""

import copy
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import OlmoeForCausalLM

from mascing.errors import SteeringError
from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.steering.forwards import Tokens
from mascing.steering.steer import steer
from tests.mascing.tiny_olmoe import tiny_olmoe, tokens

REFUSED = "another thread is inside this steered model, which takes one thread at a time: hold a lock"
SCOPES: tuple[Tokens, ...] = ("all", "prompt", "reply")


@pytest.fixture(scope="module")
def model() -> OlmoeForCausalLM:
    return tiny_olmoe()


def random_mask(model: OlmoeForCausalLM, seed: int) -> Mask:
    bias = torch.randn(3, 8, generator=torch.Generator().manual_seed(seed)) * 4
    return Mask.from_bias(bias, inspect_routers(model))


@pytest.fixture(scope="module")
def mask(model: OlmoeForCausalLM) -> Mask:
    return random_mask(model, 0)


def reply(model: OlmoeForCausalLM, length: int = 7) -> Tensor:
    output: Tensor = model.generate(tokens(1, length), max_new_tokens=5, min_new_tokens=5, do_sample=False)
    return output


@contextmanager
def inside(model: OlmoeForCausalLM, call: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Within the context, another thread has begun ``call`` and waits in the model's second layer; then it goes on."""
    entered, released, here = threading.Event(), threading.Event(), threading.get_ident()

    def wait(*_: Any) -> None:
        if threading.get_ident() != here:
            entered.set()
            assert released.wait(20)

    hook = model.model.layers[1].register_forward_pre_hook(wait)
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        try:
            assert entered.wait(20)
            yield future
        finally:
            released.set()
            hook.remove()


@pytest.mark.parametrize("scope", SCOPES)
def test_a_second_thread_is_refused_and_changes_nothing_for_the_first(
    model: OlmoeForCausalLM, mask: Mask, scope: Tokens
) -> None:
    with steer(model, mask, tokens=scope) as handle:
        alone, counted = reply(model), handle.counters
    with steer(model, mask, tokens=scope) as handle:
        with inside(model, lambda: reply(model)) as first:
            with pytest.raises(SteeringError, match=REFUSED):
                reply(model, 9)
            with pytest.raises(SteeringError, match=REFUSED):
                type(model).generate(model, tokens(1, 9), max_new_tokens=5, do_sample=False)
            with pytest.raises(SteeringError, match=REFUSED):
                model(tokens(1, 9))
        assert torch.equal(first.result(), alone)
        assert handle.counters == counted
        assert torch.equal(reply(model), alone)  # the turn is free again


def test_a_plain_forward_keeps_others_out_until_it_ends_even_by_an_error(model: OlmoeForCausalLM, mask: Mask) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no memory")

    with steer(model, mask) as handle:
        alone = reply(model)
        with inside(model, lambda: model(tokens(1, 7))):
            for enter in (lambda: reply(model), lambda: handle.swap(mask), lambda: handle.prove(model)):
                with pytest.raises(SteeringError, match=REFUSED):
                    enter()
        hook = model.model.layers[2].register_forward_pre_hook(fail)
        with ThreadPoolExecutor(1) as pool:
            failed = pool.submit(lambda: model(tokens(1, 7)))
            assert isinstance(failed.exception(), RuntimeError)
            hook.remove()
            assert torch.equal(reply(model), alone)


def test_a_mark_is_for_the_forwards_of_its_thread(model: OlmoeForCausalLM, mask: Mask) -> None:
    mark = torch.arange(7)[None] >= 3
    with steer(model, mask, tokens="reply") as handle, handle.marked(mark), ThreadPoolExecutor(1) as pool:
        with pytest.raises(SteeringError, match=REFUSED):
            pool.submit(lambda: model(tokens(1, 7))).result()
        model(tokens(1, 7))
    assert set(handle.counters.values()) == {4}


def test_a_copy_for_each_thread_is_steered_by_itself(model: OlmoeForCausalLM, mask: Mask) -> None:
    other, other_mask = copy.deepcopy(model), random_mask(model, 1)
    with steer(other, other_mask, tokens="reply"):
        alone = reply(other)
    both = steer(model, mask, tokens="reply"), steer(other, other_mask, tokens="reply")
    with both[0], both[1], inside(model, lambda: reply(model)):
        assert torch.equal(reply(other), alone)


def test_a_copy_of_a_steered_model_takes_nothing_from_the_forward_of_another_thread(
    model: OlmoeForCausalLM, mask: Mask
) -> None:
    with steer(model, mask) as handle:
        other = copy.deepcopy(model)
        alone = reply(model)
        counted = handle.counters
        with inside(model, lambda: reply(model)):
            assert torch.equal(reply(other), alone)
        assert handle.counters == {layer: 2 * count for layer, count in counted.items()}
    with steer(model, mask, tokens="reply"):
        other = copy.deepcopy(model)
        with inside(model, lambda: reply(model)), pytest.raises(SteeringError, match="a copy of the model"):
            reply(other)
