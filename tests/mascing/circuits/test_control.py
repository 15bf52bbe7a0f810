import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mascing.circuits.control import shuffled
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.routers.spec import RouterSpec

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


@st.composite
def biases(draw: st.DrawFn) -> Candidate:
    """Any additive mask, from no entry to entries everywhere."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    nonzero = torch.rand(3, 6, generator=generator) < draw(st.sampled_from([0.0, 0.2, 0.5, 0.8, 1.0]))
    return Candidate("mascing", {}, Mask.from_bias(torch.randn(3, 6, generator=generator) * nonzero, SPEC))


def values(mask: Mask) -> Tensor:
    """What the mask does to each expert, [L, E]: its bias, or its priority with the sign of what it forces."""
    match mask.rule:
        case BiasRule(bias_LE):
            return bias_LE
        case OverrideRule(priority_LE=priority_LE, signed_LE=signed_LE):
            return (priority_LE.abs() + 1) * signed_LE


@settings(deadline=None, max_examples=100)
@given(biases() | overrides(), st.integers(0, 1000))
def test_every_layer_keeps_its_entries_on_other_experts(candidate: Candidate, seed: int) -> None:
    control = shuffled(candidate, seed).mask
    assert control.rule.name == candidate.mask.rule.name
    assert control.rule.epsilon == candidate.mask.rule.epsilon
    for before_E, after_E in zip(values(candidate.mask), values(control), strict=True):
        assert sorted(after_E.tolist()) == sorted(before_E.tolist())
        n_entries = int(before_E.count_nonzero())
        common = int(((before_E != 0) & (after_E != 0)).sum())
        assert common == max(0, 2 * n_entries - SPEC.n_experts)


def test_every_free_expert_is_drawn_and_about_equally_often() -> None:
    candidate = additive()
    counts_LE = torch.stack([values(shuffled(candidate, seed).mask) != 0 for seed in range(400)]).sum(0)
    assert counts_LE[0].tolist()[1] == 0
    # One entry on five free experts: 80 expected, 8 the standard deviation.
    assert all(abs(count - 80) < 5 * 8 for expert, count in enumerate(counts_LE[0].tolist()) if expert != 1)
    assert counts_LE[1].sum() == 0


def test_the_seed_decides_and_is_recorded() -> None:
    first, repeated, other = (shuffled(additive(), seed) for seed in (1, 1, 2))
    assert first.mask.digest == repeated.mask.digest
    assert first.mask.digest != other.mask.digest
    assert first.method == "random"
    assert first.cell == {"of": "gradient", "l1": 0.01, "seed": 1}
    assert first.mask.provenance == {"method": "random", "of": "gradient", "l1": 0.01, "seed": 1}


def test_an_override_in_groups_has_a_control_that_can_be_forced() -> None:
    spec = RouterSpec("deepseek_v3", (1, 2), 12, 3, "unlisted", groups=(4, 2))
    activated, deactivated = torch.zeros(2, 2, 12, dtype=torch.bool)
    activated[:, [0, 1, 3]], deactivated[:, [2, 4]] = True, True
    mask = Mask.from_override(activated, deactivated, torch.zeros(2, 12), spec)
    drawn = set()
    for seed in range(20):
        control = shuffled(Candidate("steermoe", {}, mask), seed).mask  # a mask that cannot be forced raises
        assert torch.equal(control.rule.signed_LE.sort(dim=1).values, mask.rule.signed_LE.sort(dim=1).values)
        drawn.add(control.digest)
        assert not bool((control.rule.entries_LE & mask.rule.entries_LE).any())  # two groups had none
    assert len(drawn) == 20
