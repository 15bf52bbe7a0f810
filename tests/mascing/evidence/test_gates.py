"""Gates: what passes, what fails, and the reasons given."""

import pytest

from mascing.evidence.gates import all_of, decide, decide_condition, decide_labels
from mascing.schemas.config import GatesConfig, RobustnessConfig
from mascing.schemas.result import Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference

HIT: Outcome = "hit"
MISS: Outcome = "miss"

GATES = GatesConfig(min_uplift=0.1, max_utility_loss=0.1, protected_tolerance=0.05)


def change(low: float, value: float, high: float, unscored: int = 0) -> Rate:
    return Rate(value=value, low=low, high=high, n=200, unscored=unscored)


GOOD = change(0.3, 0.4, 0.5)
FLAT = change(-0.02, 0.0, 0.02)


def test_a_mask_that_holds_every_gate_passes_and_says_so() -> None:
    decision, reasons = decide(GOOD, {"benign": FLAT}, {"illegal": FLAT}, GATES)
    assert decision == "pass"
    assert [reason.partition(":")[0] for reason in reasons] == [
        "target passes",
        "utility/benign passes",
        "protected/illegal passes",
    ]
    assert "+40.0 points (95% interval +30.0 to +50.0, 200 conversations)" in reasons[0]
    assert "at least -5.0 points" in reasons[2]


@pytest.mark.parametrize(
    ("uplift", "utility", "protected", "failing"),
    [
        (change(0.09, 0.4, 0.5), FLAT, FLAT, "target"),
        (change(-0.5, -0.4, -0.3), FLAT, FLAT, "target"),
        (GOOD, change(-0.11, 0.0, 0.1), FLAT, "utility/benign"),
        (GOOD, FLAT, change(-0.06, -0.01, 0.02), "protected/illegal"),
    ],
)
def test_doubt_about_any_one_gate_fails_the_mask(uplift: Rate, utility: Rate, protected: Rate, failing: str) -> None:
    decision, reasons = decide(uplift, {"benign": utility}, {"illegal": protected}, GATES)
    assert decision == "fail"
    assert [reason for reason in reasons if " fails: " in reason] == [
        reason for reason in reasons if reason.startswith(f"{failing} fails")
    ]
    assert sum(" fails: " in reason for reason in reasons) == 1


def test_bounds_exactly_at_the_limits_pass() -> None:
    decision, _ = decide(change(0.1, 0.2, 0.3), {"u": change(-0.1, 0, 0.1)}, {"p": change(-0.05, 0, 0)}, GATES)
    assert decision == "pass"


def test_every_set_is_gated_by_itself() -> None:
    sets = {"facts": FLAT, "sums": change(-0.3, -0.2, -0.1), "tales": FLAT}
    decision, reasons = decide(GOOD, sets, {}, GATES)
    assert decision == "fail"
    assert len(reasons) == 4
    assert any(reason.startswith("utility/sums fails") for reason in reasons)


def test_unmeasured_utility_may_be_lost_entirely() -> None:
    decision, reasons = decide(GOOD, {}, {}, GATES)
    assert decision == "fail"
    assert "no utility set was judged" in reasons[-1]
    assert decide(GOOD, {}, {}, GatesConfig(max_utility_loss=1))[0] == "pass"


def test_unscored_replies_are_said() -> None:
    _, reasons = decide(change(0.3, 0.4, 0.5, unscored=7), {"benign": FLAT}, {}, GATES)
    assert "7 unscored" in reasons[0]
    assert "unscored" not in reasons[1]


@pytest.mark.parametrize("n", [100, 200, 250])
def test_the_default_limits_pass_a_mask_that_loses_nothing(n: int) -> None:
    groups = [f"g{i // 4}" for i in range(n)]
    before = [HIT] * (n // 2) + [MISS] * (n - n // 2)
    after = [HIT] * (n - n // 10) + [MISS] * (n // 10)
    uplift, nothing = paired_difference(before, after, groups), paired_difference(before, before, groups)
    assert decide(uplift, {"benign": nothing}, {"illegal": nothing}, GatesConfig())[0] == "pass"


def test_the_default_limits_fail_a_mask_that_loses_one_in_ten() -> None:
    groups = [f"g{i // 4}" for i in range(250)]
    before = [HIT] * 250
    after = [MISS] * 25 + [HIT] * 225
    loss = paired_difference(before, after, groups)
    assert decide(GOOD, {"benign": loss}, {}, GatesConfig())[0] == "fail"


@pytest.mark.parametrize(("low", "decision"), [(0.35, "pass"), (0.2, "pass"), (0.19, "fail"), (-0.1, "fail")])
def test_labels_must_agree_with_the_unsteered_model_beyond_chance(low: float, decision: str) -> None:
    decided, [reason] = decide_labels(change(low, 0.4, 0.6), GatesConfig())
    assert decided == decision
    assert f"0.40 (95% interval {low:.2f} to 0.60, 200 conversations)" in reason
    assert ("correct the labels" in reason) == (decision == "fail")


def test_without_labels_the_gate_passes_only_where_any_agreement_would() -> None:
    assert decide_labels(None, GatesConfig())[0] == "fail"
    assert decide_labels(None, GatesConfig(min_label_kappa=-1))[0] == "pass"


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({"target": GOOD, "utility/benign": FLAT, "protected/illegal": FLAT}, "pass"),
        ({"target": change(0.04, 0.4, 0.5), "utility/benign": FLAT}, "fail"),
        ({"target": GOOD, "utility/benign": change(-0.21, 0.0, 0.1)}, "fail"),
        ({"protected/illegal": change(-0.21, 0.0, 0.1), "target": GOOD}, "fail"),
    ],
)
def test_a_condition_is_decided_by_its_worst_set_in_one_sentence(changes: dict[str, Rate], decision: str) -> None:
    decided, [reason] = decide_condition("paraphrase", changes, GatesConfig(), RobustnessConfig())
    assert decided == decision
    assert reason.startswith(f"paraphrase {'passes' if decision == 'pass' else 'fails'}: target changed by +40.0")
    assert all(name in reason for name in changes)


def test_one_failed_decision_fails_all_and_every_reason_is_kept() -> None:
    assert all_of([("pass", ("a",)), ("fail", ("b", "c"))]) == ("fail", ("a", "b", "c"))
    assert all_of([("pass", ("a",)), ("pass", ())]) == ("pass", ("a",))
