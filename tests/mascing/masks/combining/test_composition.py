"""Composed masks: what they do, where their parts contradict each other, and what is refused."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from mascing.engines.generation import generate
from mascing.errors import MaskError
from mascing.masks.combining.composition import compose
from mascing.masks.mask import Mask
from mascing.models.loading import load
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.schemas.config import GenerationConfig, ModelConfig
from tests.mascing.conversations.lines import decode_lines, parse_conversations
from tests.mascing.mask_rules import bias_of, override_of

SPEC = RouterSpec("olmoe", (1, 3), 6, 2, "softmax", fingerprint="f" * 64)
Places = list[tuple[int, int]]


def additive(*entries: tuple[int, int, float], spec: RouterSpec = SPEC) -> Mask:
    bias = torch.zeros(spec.n_layers, spec.n_experts)
    for layer, expert, value in entries:
        bias[layer, expert] = value
    return Mask.from_bias(bias, spec, {"method": "gradient"})


def override(on: Places, off: Places, priority: float = 0.5, epsilon: float = 1e-2) -> Mask:
    activated, deactivated = torch.zeros(2, 6, dtype=torch.bool), torch.zeros(2, 6, dtype=torch.bool)
    for place in on:
        activated[place] = True
    for place in off:
        deactivated[place] = True
    priorities = priority * (activated.float() - deactivated.float())
    return Mask.from_override(activated, deactivated, priorities, SPEC, epsilon, {"method": "steermoe"})


def forced(mask: Mask) -> tuple[list[list[int]], list[list[int]]]:
    rule = override_of(mask)
    return rule.activated_LE.nonzero().tolist(), rule.deactivated_LE.nonzero().tolist()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.integers(2, 4))
def test_biases_add_up_and_opposite_signs_are_the_conflicts(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    biases = [torch.randint(-1, 2, (2, 6), generator=generator).float() for _ in range(n)]
    composed = compose([Mask.from_bias(bias, SPEC) for bias in biases])
    assert torch.equal(bias_of(composed.mask), torch.stack(biases).sum(0))
    conflicts = {(conflict.layer, conflict.expert): conflict for conflict in composed.conflicts}
    for layer, depth in enumerate(SPEC.layer_ids):
        for expert in range(6):
            requests = [float(bias[layer, expert]) for bias in biases]
            assert ((depth, expert) in conflicts) == (max(requests) > 0 > min(requests))
            if (depth, expert) in conflicts:
                assert conflicts[depth, expert].asked == tuple(requests)
                assert conflicts[depth, expert].left == sum(requests)
                assert not conflicts[depth, expert].crowded
    assert composed.shared == sum(sum(float(b[i, j]) != 0 for b in biases) > 1 for i in range(2) for j in range(6))


def test_a_bias_composed_with_itself_is_twice_as_strong_and_an_override_the_same() -> None:
    bias, forces = additive((0, 1, 0.5), (1, 2, -1.0)), override([(0, 1)], [(1, 2)])
    twice, forced_twice = compose([bias, bias]), compose([forces, forces])
    assert torch.equal(bias_of(twice.mask), 2 * bias_of(bias))
    assert forced(forced_twice.mask) == forced(forces)
    assert twice.conflicts == forced_twice.conflicts == ()
    assert twice.shared == forced_twice.shared == 2


def test_overrides_unite_and_an_expert_that_is_pulled_both_ways_is_left_alone() -> None:
    composed = compose([override([(0, 1), (1, 0)], [(0, 2)]), override([(0, 2)], [(1, 5)], epsilon=0.1)])
    assert forced(composed.mask) == ([[0, 1], [1, 0]], [[1, 5]])
    assert composed.mask.rule.epsilon == pytest.approx(0.1)
    (conflict,) = composed.conflicts
    assert (conflict.layer, conflict.expert, conflict.asked, conflict.left) == (1, 2, (-1.0, 1.0), 0.0)
    assert not conflict.crowded


def test_a_layer_with_too_many_activated_experts_keeps_the_strongest_and_says_so() -> None:
    composed = compose([override([(0, 0), (0, 1)], [], 0.3), override([(0, 2)], [], 0.9)])
    assert forced(composed.mask)[0] == [[0, 0], [0, 2]]
    (conflict,) = composed.conflicts
    assert (conflict.layer, conflict.expert, conflict.crowded) == (1, 1, True)


def test_a_layer_never_deactivates_so_many_that_fewer_than_top_k_are_left() -> None:
    composed = compose([override([], [(1, 0), (1, 1), (1, 2)], 0.2), override([], [(1, 3), (1, 4)], 0.6)])
    assert forced(composed.mask)[1] == [[1, 0], [1, 1], [1, 3], [1, 4]]
    assert [(conflict.expert, conflict.crowded) for conflict in composed.conflicts] == [(2, True)]


def test_the_provenance_lists_the_parts() -> None:
    parts = [additive((0, 1, 0.5)), additive((1, 1, 0.5))]
    assert compose(parts).mask.provenance == {
        "method": "composition",
        "parts": [{"digest": part.digest, "method": "gradient"} for part in parts],
    }


def test_a_single_mask_is_refused() -> None:
    with pytest.raises(MaskError, match="at least two"):
        compose([additive((0, 1, 0.5))])


def test_masks_of_different_models_are_refused() -> None:
    other = RouterSpec("olmoe", (1, 3), 6, 2, "softmax", fingerprint="e" * 64)
    with pytest.raises(MaskError, match=r"mask 3 is for another model than mask 1.*eeeeeeeeeeee"):
        compose([additive((0, 1, 0.5)), additive((0, 2, 0.5)), additive((0, 1, 0.5), spec=other)])


def test_masks_of_different_rules_are_refused_with_the_reason() -> None:
    with pytest.raises(MaskError, match=r"different rules cannot be composed.*bias, override.*lose the biases"):
        compose([additive((0, 1, 0.5)), override([(0, 1)], [])])


def test_mirrored_behaviours_conflict_everywhere_and_cancel(testbed_folder: Path) -> None:
    """The testbed's two behaviours ask for the opposite: together they leave the model's replies as they are."""
    loaded = load(ModelConfig(path=str(testbed_folder)))
    spec = inspect_routers(loaded.model)
    # The truth is in units of sigma, which is about 2 logits.
    defence, policy = (
        2 * load_file(testbed_folder / f"truth-{name}.safetensors")["bias"]
        for name in ("jailbreak-defence", "content-policy")
    )
    parts = [Mask.from_bias(defence, spec), Mask.from_bias(0.75 * policy, spec)]
    composed = compose(parts)
    planted = defence != 0
    assert len(composed.conflicts) == composed.shared == int(planted.sum())
    data = (testbed_folder / "conversations-jailbreak-defence.jsonl").read_bytes()
    conversations = parse_conversations(decode_lines(data), 100_000)[0][:24]
    generation = GenerationConfig(max_new_tokens=6)
    mirrored, plain, summed = (
        generate(loaded, conversations, mask, generation)
        for mask in (
            compose([parts[0], Mask.from_bias(policy, spec)]).mask,
            None,
            Mask.from_bias(defence + 0.75 * policy, spec),
        )
    )
    assert mirrored == plain
    assert generate(loaded, conversations, composed.mask, generation) == summed
    assert generate(loaded, conversations, parts[0], generation) != plain
