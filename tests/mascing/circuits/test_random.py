import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.circuits.candidates import Candidate
from mascing.circuits.random import shuffled
from mascing.mask import Mask
from mascing.routers import RouterSpec

SPEC = RouterSpec("olmoe", (0, 1, 2), 6, 2, "softmax")


def additive() -> Candidate:
    bias = torch.zeros(3, 6)
    bias[0, 1], bias[2, 5], bias[2, 4] = 1.5, -0.5, 0.25
    return Candidate("gradient", {"l1": 0.01}, Mask.from_bias(bias, SPEC))


@st.composite
def overrides(draw: st.DrawFn) -> Candidate:
    """Any override mask that a model takes: up to top-k activated and E - top-k deactivated experts a layer."""
    activated, deactivated = torch.zeros(3, 6, dtype=torch.bool), torch.zeros(3, 6, dtype=torch.bool)
    for layer in range(3):
        order = draw(st.permutations(range(6)))
        n_activated, n_deactivated = draw(st.integers(0, 2)), draw(st.integers(0, 4))
        activated[layer, order[:n_activated]] = True
        deactivated[layer, order[n_activated : n_activated + n_deactivated]] = True
    priority = torch.randn(3, 6, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    mask = Mask.from_override(activated, deactivated, priority, SPEC, epsilon=0.02)
    return Candidate("steermoe", {"n_activated": 3}, mask)


def test_an_additive_mask_keeps_its_entries_in_other_places() -> None:
    before, after = additive().mask.bias, shuffled(additive(), 0).mask.bias
    assert before is not None
    assert after is not None
    assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)
    assert not torch.equal(before, after)


def test_entries_reach_all_layers() -> None:
    layers = set()
    for seed in range(20):
        bias = shuffled(additive(), seed).mask.bias
        assert bias is not None
        layers |= set(bias.nonzero()[:, 0].tolist())
    assert layers == {0, 1, 2}


@settings(deadline=None, max_examples=80)
@given(overrides(), st.integers(0, 1000))
def test_an_override_mask_keeps_its_counts_and_what_a_layer_may_hold(candidate: Candidate, seed: int) -> None:
    before, after = candidate.mask, shuffled(candidate, seed).mask
    assert before.activated is not None
    assert before.deactivated is not None
    assert before.priority is not None
    assert after.activated is not None
    assert after.deactivated is not None
    assert after.priority is not None
    assert int(after.activated.sum()) == int(before.activated.sum())
    assert int(after.deactivated.sum()) == int(before.deactivated.sum())
    assert int(after.activated.sum(dim=1).max()) <= SPEC.top_k
    assert int(after.deactivated.sum(dim=1).max()) <= SPEC.n_experts - SPEC.top_k
    assert sorted(after.priority[after.activated].tolist()) == sorted(before.priority[before.activated].tolist())
    assert sorted(after.priority[after.deactivated].tolist()) == sorted(before.priority[before.deactivated].tolist())
    assert after.epsilon == before.epsilon


def test_the_seed_decides_and_is_recorded() -> None:
    first, again, other = (shuffled(additive(), seed) for seed in (1, 1, 2))
    assert first.mask.digest == again.mask.digest
    assert first.mask.digest != other.mask.digest
    assert first.method == "random"
    assert first.cell == {"of": "gradient", "l1": 0.01, "seed": 1}
    assert first.mask.provenance == {"method": "random", "of": "gradient", "l1": 0.01, "seed": 1}
