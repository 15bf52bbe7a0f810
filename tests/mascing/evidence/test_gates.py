"""Gates: what passes, what fails, and the reasons given."""

from collections.abc import Mapping

import pytest

from mascing.evidence.gates import (
    Decision,
    all_of,
    decide,
    decide_condition,
    decide_judges,
    decide_labels,
    decide_topic,
    gate_text,
)
from mascing.schemas.cards.topic_null import TopicCheck, TopicState
from mascing.schemas.config import GatesConfig, RobustnessConfig
from mascing.schemas.result import Gate, Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference, rate

HIT: Outcome = "hit"
MISS: Outcome = "miss"

GATES = GatesConfig(min_uplift=0.1, max_utility_loss=0.1, protected_tolerance=0.05)


def change(low: float, value: float, high: float, unscored: int = 0) -> Rate:
    return Rate(value=value, low=low, high=high, n=200, unscored=unscored)


GOOD = change(0.3, 0.4, 0.5)
FLAT = change(-0.02, 0.0, 0.02)


MASTERED = Rate(value=0.95, low=0.9, high=0.98, n=200, unscored=0)


def decided(
    uplift: Rate,
    kept: Mapping[str, Rate],
    gates: GatesConfig = GATES,
    baselines: Mapping[str, Rate] | None = None,
    degenerate: Rate = FLAT,
) -> Decision:
    """The decision where the unsteered model masters every set that ``baselines`` does not name."""
    changes = {"target": uplift, **kept}
    return decide(changes, dict.fromkeys(changes, MASTERED) | dict(baselines or {}), degenerate, gates)


def heads(reasons: tuple[str, ...], word: str) -> list[str]:
    return [head for head, _, _ in (reason.partition(":") for reason in reasons) if head.endswith(word)]


def test_a_mask_that_holds_every_gate_passes_and_says_so() -> None:
    decision, reasons = decided(GOOD, {"utility/benign": FLAT, "protected/illegal": FLAT})
    assert decision == "pass"
    assert [reason.partition(":")[0] for reason in reasons] == [
        "target passes",
        "utility/benign passes",
        "protected/illegal passes",
        "replies passes",
    ]
    assert "+40.0 points (95% interval +30.0 to +50.0, 200 conversations)" in reasons[0]
    assert "at least -5.0 points" in reasons[2]


@pytest.mark.parametrize(
    ("uplift", "utility", "protected", "degenerate", "failing"),
    [
        (change(0.09, 0.4, 0.5), FLAT, FLAT, FLAT, "target"),
        (change(-0.5, -0.4, -0.3), FLAT, FLAT, FLAT, "target"),
        (GOOD, change(-0.11, 0.0, 0.1), FLAT, FLAT, "utility/benign"),
        (GOOD, FLAT, change(-0.06, -0.01, 0.02), FLAT, "protected/illegal"),
        (GOOD, FLAT, FLAT, change(0.0, 0.05, 0.11), "replies"),
    ],
)
def test_doubt_about_any_one_gate_fails_the_mask(
    uplift: Rate, utility: Rate, protected: Rate, degenerate: Rate, failing: str
) -> None:
    kept = {"utility/benign": utility, "protected/illegal": protected}
    decision, reasons = decided(uplift, kept, degenerate=degenerate)
    assert decision == "fail"
    assert heads(reasons, "fails") == [f"{failing} fails"]


def test_bounds_exactly_at_the_limits_pass() -> None:
    kept = {"utility/u": change(-0.1, 0, 0.1), "protected/p": change(-0.05, 0, 0)}
    assert decided(change(0.1, 0.2, 0.3), kept, degenerate=change(0, 0.01, 0.1))[0] == "pass"


def test_every_set_is_gated_by_itself() -> None:
    sets = {"utility/facts": FLAT, "utility/sums": change(-0.3, -0.2, -0.1), "utility/tales": FLAT}
    decision, reasons = decided(GOOD, sets)
    assert decision == "fail"
    assert len(reasons) == 5
    assert heads(reasons, "fails") == ["utility/sums fails"]


def test_unmeasured_utility_is_undecided_unless_it_may_be_lost_entirely() -> None:
    decision, reasons = decided(GOOD, {})
    assert decision == "undecided"
    assert heads(reasons, "is undecided") == ["utility is undecided"]
    assert any("no utility set was judged" in reason for reason in reasons)
    assert decided(GOOD, {}, GatesConfig(max_utility_loss=1))[0] == "pass"


def test_unscored_replies_are_said() -> None:
    _, reasons = decided(change(0.3, 0.4, 0.5, unscored=7), {"utility/benign": FLAT})
    assert "7 unscored" in reasons[0]
    assert "unscored" not in reasons[1]


@pytest.mark.parametrize("name", ["utility/benign", "protected/illegal"])
@pytest.mark.parametrize("n", [40, 200, 5000])
@pytest.mark.parametrize("hits", [0.0, 0.1, 0.3, 0.5])
def test_a_set_that_the_unsteered_model_does_not_master_is_undecided(name: str, n: int, hits: float) -> None:
    right: list[Outcome] = [HIT if i < hits * n else MISS for i in range(n)]
    groups = [f"g{i}" for i in range(n)]
    kept = {"utility/facts": FLAT, name: paired_difference(right, right, groups)}
    decision, reasons = decided(GOOD, kept, GatesConfig(), {name: rate(right, groups)})
    assert decision == "undecided"
    [reason] = [reason for reason in reasons if reason.startswith(f"{name} is undecided")]
    assert f"the unsteered model scores {100 * hits:.1f}%" in reason
    assert "at least 50.0%: take another judge or rows that the model masters, or remove the set" in reason


def test_a_certain_loss_fails_also_where_a_set_is_not_mastered() -> None:
    half = Rate(value=0.5, low=0.43, high=0.57, n=200, unscored=0)
    assert decided(GOOD, {"utility/facts": change(-0.5, -0.45, -0.4)}, baselines={"utility/facts": half})[0] == "fail"


def test_a_set_without_a_readable_reply_is_undecided() -> None:
    unread: list[Outcome] = ["unscored"] * 100
    groups = [f"g{i}" for i in range(100)]
    kept = {"utility/facts": paired_difference(unread, unread, groups)}
    decision, reasons = decided(GOOD, kept, baselines={"utility/facts": rate(unread, groups)})
    assert decision == "undecided"
    assert "no reply of the unsteered model could be judged (100 conversations, 100 unscored)" in reasons[1]


@pytest.mark.parametrize("limit", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_no_set_passes_a_mask_that_loses_every_hit(limit: float, floor: float) -> None:
    gates = GatesConfig(max_utility_loss=limit, min_baseline=floor)
    for n in (10, 50, 400):
        groups = [f"g{i // 2}" for i in range(n)]
        for hits in range(0, n + 1, n // 10):
            before = [HIT] * hits + [MISS] * (n - hits)
            lost = paired_difference(before, [MISS] * n, groups)
            decision, _ = decided(GOOD, {"utility/facts": lost}, gates, {"utility/facts": rate(before, groups)})
            assert decision != "pass", (n, hits)


@pytest.mark.parametrize("n", [100, 200, 250])
def test_the_default_limits_pass_a_mask_that_loses_nothing(n: int) -> None:
    groups = [f"g{i // 4}" for i in range(n)]
    before = [HIT] * (n // 2) + [MISS] * (n - n // 2)
    after = [HIT] * (n - n // 10) + [MISS] * (n // 10)
    uplift, nothing = paired_difference(before, after, groups), paired_difference(before, before, groups)
    kept = {"utility/benign": nothing, "protected/illegal": nothing}
    assert decided(uplift, kept, GatesConfig())[0] == "pass"


def test_the_default_limits_fail_a_mask_that_loses_one_in_ten() -> None:
    groups = [f"g{i // 4}" for i in range(250)]
    before = [HIT] * 250
    after = [MISS] * 25 + [HIT] * 225
    loss = paired_difference(before, after, groups)
    assert decided(GOOD, {"utility/benign": loss}, GatesConfig())[0] == "fail"


@pytest.mark.parametrize(
    ("kinds", "decision"),
    [
        ({"target": "refusal"}, "undecided"),
        ({"target": "refusal", "utility": "refusal"}, "undecided"),
        ({"target": "refusal", "utility": "refusal", "protected": "refusal"}, "undecided"),
        ({"target": "exact", "utility": "refusal"}, "undecided"),
        ({"target": "compliance", "utility": "compliance"}, "undecided"),
        ({"target": "compliance", "utility": "compliance", "protected": "compliance"}, "undecided"),
        ({"target": "compliance", "utility": "compliance", "protected": "refusal"}, "undecided"),
        ({"target": "refusal", "utility": "compliance"}, "undecided"),
        ({"target": "refusal", "utility": "exact", "protected": "refusal"}, "pass"),
        ({"target": "exact", "utility": "exact"}, "pass"),
        ({"target": "refusal", "utility/a": "compliance", "utility/b": "compliance"}, "undecided"),
        ({"target": "refusal", "utility/a": "compliance", "utility/b": "choice"}, "pass"),
        ({"target": "a.package:judge", "utility": "a.package:judge"}, "pass"),
    ],
)
def test_judges_that_one_kind_of_reply_satisfies_everywhere_decide_nothing(
    kinds: dict[str, str], decision: str
) -> None:
    decided, [reason] = decide_judges(kinds)
    assert decided == decision
    assert ("would lose nothing" in reason) == (decision == "undecided")


@pytest.mark.parametrize(("low", "decision"), [(0.35, "pass"), (0.2, "pass"), (0.19, "fail"), (-0.1, "fail")])
def test_labels_must_agree_with_the_unsteered_model_beyond_chance(low: float, decision: str) -> None:
    decided, [reason] = decide_labels(change(low, 0.4, 0.6), GatesConfig())
    assert decided == decision
    assert f"0.40 (95% interval {low:.2f} to 0.60, 200 conversations)" in reason
    assert ("drop the labels from the file" in reason) == (decision == "fail")


@pytest.mark.parametrize(
    ("state", "allowed", "decision", "said"),
    [
        ("clear", False, "pass", "topic passes: as measured"),
        ("explained", False, "fail", "topic fails: as measured; or allow it with gates.allow_topic"),
        ("explained", True, "pass", "topic passes: gates.allow_topic allows it, although as measured"),
        ("unknown", False, "pass", "topic passes: this could not be tested and stays unknown: as measured"),
    ],
)
def test_a_mask_found_by_topic_fails_unless_it_is_allowed(
    state: TopicState, allowed: bool, decision: Gate, said: str
) -> None:
    check = TopicCheck(state=state, sentences=("as measured",))
    assert decide_topic(check, GatesConfig(allow_topic=allowed)) == (decision, (said,))


def test_without_given_labels_there_is_nothing_to_compare() -> None:
    sentence = "labels passes: none were given; the model's own replies are the labels"
    assert decide_labels(None, GatesConfig()) == ("pass", (sentence,))


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
    baselines = dict.fromkeys(changes, MASTERED)
    decided, [reason] = decide_condition("paraphrase", changes, baselines, GatesConfig(), RobustnessConfig())
    assert decided == decision
    assert reason.startswith(f"paraphrase {'passes' if decision == 'pass' else 'fails'}: target changed by +40.0")
    assert all(name in reason for name in changes)


def test_a_condition_under_which_the_unsteered_model_fails_is_undecided() -> None:
    changes = {"target": GOOD, "utility/benign": FLAT, "utility/facts": FLAT}
    lost = Rate(value=0.0, low=0.0, high=0.02, n=200, unscored=0)
    baselines = {"target": lost, "utility/benign": MASTERED, "utility/facts": lost}
    decided, [reason] = decide_condition("system prompt", changes, baselines, GatesConfig(), RobustnessConfig())
    assert decided == "undecided"
    assert reason.startswith("system prompt is undecided: target changed by +40.0")
    assert reason.count("the unsteered model scores 0.0%") == 1
    assert "which is too low to show a loss" in reason.partition("utility/facts")[2]
    worse = {**changes, "utility/benign": change(-0.5, -0.4, -0.3)}
    assert decide_condition("system prompt", worse, baselines, GatesConfig(), RobustnessConfig())[0] == "fail"


def test_the_worst_decision_counts_and_every_reason_is_kept() -> None:
    assert all_of([("pass", ("a",)), ("undecided", ("b",)), ("fail", ("c", "d"))]) == ("fail", ("a", "b", "c", "d"))
    assert all_of([("pass", ("a",)), ("undecided", ("b",))]) == ("undecided", ("a", "b"))
    assert all_of([("pass", ("a",)), ("pass", ())]) == ("pass", ("a",))


@pytest.mark.parametrize(
    ("gate", "names", "said"),
    [
        ("pass", ["target passes"], "pass"),
        ("fail", ["target passes", "utility/benign fails", "replies is undecided"], "fail: benign"),
        ("undecided", ["target passes", "judges is undecided"], "undecided: judges"),
        (
            "fail",
            [f"{name} fails" for name in ("target", "system prompt 1", "labels")],
            "fail: target, system prompt 1, 1 more",
        ),
    ],
)
def test_the_checks_that_made_a_decision_are_named(gate: Gate, names: list[str], said: str) -> None:
    assert gate_text(gate, [f"{name}: numbers" for name in names]) == said
