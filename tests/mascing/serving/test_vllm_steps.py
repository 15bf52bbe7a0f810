"""Which tokens of a step a mask acts on, and what is counted of a request, without vLLM."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mascing.errors import SteeringError
from mascing.serving.vllm_plugin.plugin_settings import KEY, PluginSettings
from mascing.serving.vllm_plugin.slots import Slots
from mascing.serving.vllm_plugin.steps import Steps

LAYERS: Any = [SimpleNamespace(n_experts=4, top_k=2, groups=None, correction=None) for _ in range(2)]


@pytest.fixture
def steps() -> Steps:
    slots = Slots(LAYERS, "softmax-topk", PluginSettings(slots=8, capture=True), 32, torch.device("cpu"), fixed=True)
    steps = Steps(slots, [0, 3])
    steps.proved = True
    return steps


def step(steps: Steps, *requests: tuple[str, int, int], **arguments: Any) -> list[int]:
    """Take a step whose layers all run; returns the slot of each token."""
    steps.begin(requests, lambda name: {KEY: arguments[name]} if name in arguments else None)
    total = sum(count for _, _, count in requests)
    for layer in range(2):
        steps._slots.edit(layer, torch.zeros(total, 4))
    steps.end()
    return steps._slots.slot_N.tolist()


def span(slot: int, start: int = 0, stop: int | None = None, **more: Any) -> dict[str, Any]:
    return {"slot": slot, "start": start, "stop": stop, **more}


def test_each_token_has_the_slot_of_its_request_and_the_rest_none(steps: Steps) -> None:
    assert (
        step(steps, ("a", 0, 3), ("b", 0, 2), ("c", 5, 1), a=span(4), c=span(2)) == [4] * 3 + [0] * 2 + [2] + [0] * 26
    )
    assert step(steps, ("b", 2, 1), ("a", 3, 1)) == [0, 4] + [0] * 30
    assert step(steps, ("b", 3, 1)) == [0] * 32


@pytest.mark.parametrize(
    ("start", "stop", "first", "then"),
    [(0, None, [1, 1, 1, 1], [1]), (0, 3, [1, 1, 1, 0], [0]), (4, None, [0] * 4, [1]), (2, None, [0, 0, 1, 1], [1])],
)
def test_a_mask_acts_on_its_span_alone(steps: Steps, start: int, stop: int | None, first: Any, then: Any) -> None:
    assert step(steps, ("a", 0, 4), a=span(1, start, stop))[:4] == first
    assert step(steps, ("a", 4, 1))[:1] == then
    assert steps.proofs({"a": 5})["a"]["steered"] == dict.fromkeys((0, 3), sum(first) + sum(then))


def test_what_is_computed_again_counts_once_and_what_was_cached_is_told(steps: Steps) -> None:
    step(steps, ("a", 2, 4), a=span(1))
    step(steps, ("a", 0, 6))  # preempted, and computed from the start
    step(steps, ("a", 6, 1))
    step(steps, ("a", 9, 1))  # preempted again, and since then another request left two more tokens in the cache
    assert steps.proofs({"a": 10})["a"] == {"steered": {0: 6, 3: 6}, "cached": 4, "selected": {}}


def test_what_vllm_computes_past_the_end_of_a_reply_does_not_count(steps: Steps) -> None:
    for start, count in ((2, 4), (6, 1), (7, 1)):
        steps.begin([("a", start, count)], lambda name: {KEY: span(1, 1, selected=True)})
        for layer in range(2 if start < 7 else 1):  # a layer lacks a token past the end
            steps._slots.edit(layer, torch.zeros(count, 4))
            steps._slots.selected(layer, torch.tensor([[0, 1]] * count))
        steps.end()
    proof = steps.proofs({"a": 5})["a"]
    assert (proof["steered"], proof["cached"]) == ({0: 3, 3: 2}, 1)
    assert proof["selected"][0] == [3, 3, 0, 0]


def test_a_layer_that_lacks_tokens_is_told(steps: Steps) -> None:
    steps.begin([("a", 0, 5)], lambda name: {KEY: span(1)})
    steps._slots.edit(0, torch.zeros(5, 4))
    assert steps.proofs({"a": 5})["a"]["steered"] == {0: 5, 3: 0}


def test_nothing_is_steered_before_the_proof(steps: Steps) -> None:
    steps.proved = False
    with pytest.raises(SteeringError, match="before steering was proved"):
        step(steps, ("a", 0, 2), a=span(1))
    step(steps, ("b", 0, 2))


def test_selections_are_counted_of_the_tokens_that_were_computed(steps: Steps) -> None:
    for start, count in ((2, 2), (3, 2)):  # two were cached, one is computed again
        steps.begin(
            [("x", 0, 1), ("a", start, count)], lambda name: {KEY: span(1, selected=True)} if name == "a" else None
        )
        for layer in range(2):
            steps._slots.edit(layer, torch.zeros(1 + count, 4))
            steps._slots.selected(layer, torch.tensor([[0, 1], *[[layer, 3]] * count]))
        steps.end()
    assert steps.proofs({"a": 5})["a"] == {
        "steered": {0: 3, 3: 3}, "cached": 2, "selected": {0: [3, 0, 0, 3], 3: [0, 3, 0, 3]},
    }  # fmt: skip


def test_recorded_positions_come_in_order_whatever_the_steps_were(steps: Steps) -> None:
    for start, count in ((0, 3), (0, 2), (2, 2)):
        steps.begin(
            [("x", 7, 1), ("a", start, count)], lambda name: {KEY: span(0, capture=True)} if name == "a" else None
        )
        z_NE = torch.arange(start - 1, start + count).float()[:, None].expand(-1, 4)
        for layer in range(2):
            steps._slots.edit(layer, z_NE + 10 * layer)
        steps.end()
    z_TLE, ids_TLK = steps.take("a")
    assert z_TLE[:, :, 0].tolist() == [[position, position + 10.0] for position in range(4)]
    assert ids_TLK.shape == (4, 2, 2)
    with pytest.raises(SteeringError, match="nothing was recorded of request a"):
        steps.take("a")
