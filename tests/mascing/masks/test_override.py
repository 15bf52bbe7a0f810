"""The override rule against a direct transcription of the paper's formulas."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mascing.masks.mask import Mask
from mascing.masks.override import override, strongest
from mascing.routers.spec import RouterSpec
from tests.mascing.mask_rules import override_of

EXPERTS, TOP_K = 6, 2
logit = st.floats(-30, 30, width=32)
token = st.lists(logit, min_size=EXPERTS, max_size=EXPERTS)
experts = st.lists(st.booleans(), min_size=EXPERTS, max_size=EXPERTS)
risks = st.lists(st.floats(-1, 1, width=16), min_size=EXPERTS, max_size=EXPERTS)


def transcribed(logits: Tensor, activated: list[bool], deactivated: list[bool], epsilon: float) -> Tensor:
    """s = log_softmax(z); activated -> max(s) + eps; deactivated -> min(s) - eps; in float64."""
    s = logits.double().log_softmax(-1)
    top, bottom = s.max(), s.min()
    return torch.stack(
        [top + epsilon if activated[e] else bottom - epsilon if deactivated[e] else s[e] for e in range(len(activated))]
    )


@settings(max_examples=200, deadline=None)
@given(token, experts, experts, st.floats(1e-3, 1.0))
def test_the_rule_equals_the_papers_on_log_softmax_scores(
    logits: list[float], on: list[bool], off: list[bool], epsilon: float
) -> None:
    off = [b and not a for a, b in zip(on, off, strict=True)]
    z = torch.tensor(logits)
    ours = override(z, torch.tensor(on), torch.tensor(off), torch.tensor(epsilon)).double()
    wanted = transcribed(z, on, off, epsilon)
    shift = z.double().logsumexp(-1)
    torch.testing.assert_close(ours - shift, wanted, rtol=0, atol=2e-5)
    torch.testing.assert_close(ours.softmax(-1), wanted.softmax(-1), rtol=2e-5, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), st.floats(1e-3, 1e3), st.integers(0, 10_000))
def test_the_step_survives_rounding_in_every_dtype(dtype: torch.dtype, scale: float, seed: int) -> None:
    z = (torch.randn(4, EXPERTS, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)
    on, off = torch.zeros(2, EXPERTS, dtype=torch.bool)
    on[2], off[4] = True, True
    edited = override(z, on, off, torch.tensor(1e-2))
    untouched = [0, 1, 3, 5]
    assert edited.dtype == dtype
    assert torch.equal(edited[:, untouched], z[:, untouched])
    assert (edited[:, [2]] > z.amax(-1, keepdim=True)).all()
    assert (edited[:, [4]] < z.amin(-1, keepdim=True)).all()


@settings(max_examples=200, deadline=None)
@given(experts, risks, st.integers(0, EXPERTS))
def test_no_more_than_the_limit_and_those_of_the_highest_risk_difference(
    wanted: list[bool], risk: list[float], limit: int
) -> None:
    remaining = strongest(torch.tensor([wanted]), torch.tensor([risk]), limit)[0].tolist()
    ranked = sorted((e for e in range(EXPERTS) if wanted[e]), key=lambda e: (-risk[e], e))
    assert {e for e in range(EXPERTS) if remaining[e]} == set(ranked[:limit])


@settings(max_examples=100, deadline=None)
@given(experts, experts, risks)
def test_a_mask_never_activates_more_than_top_k_nor_leaves_fewer(
    on: list[bool], off: list[bool], risk: list[float]
) -> None:
    off = [b and not a for a, b in zip(on, off, strict=True)]
    spec = RouterSpec("made-up", (0,), EXPERTS, TOP_K, "softmax-topk")
    mask = Mask.from_override(torch.tensor([on]), torch.tensor([off]), torch.tensor([risk]), spec)
    rule = override_of(mask)
    assert int(rule.activated_LE.sum()) == min(sum(on), TOP_K)
    assert int(rule.deactivated_LE.sum()) == min(sum(off), EXPERTS - TOP_K)
    dropped = [risk[e] for e in range(EXPERTS) if off[e] and not rule.deactivated_LE[0, e]]
    remaining = [risk[e] for e in range(EXPERTS) if rule.deactivated_LE[0, e]]
    assert not dropped or max(remaining) <= min(dropped)
    z = torch.randn(20, EXPERTS, generator=torch.Generator().manual_seed(0))
    edited = override(z, rule.activated_LE[0], rule.deactivated_LE[0], torch.tensor(1e-2))
    for chosen in edited.topk(TOP_K).indices.tolist():
        assert not any(rule.deactivated_LE[0, e] for e in chosen)
        assert {e for e in range(EXPERTS) if rule.activated_LE[0, e]} <= set(chosen)
