"""What would change a missed gate: each kind of remedy on a small example, and that it does change the gate."""

import inspect
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

import pytest

from mascing.commands.plan import plan
from mascing.evidence.gates import decide_condition, decide_labels, decide_topic
from mascing.evidence.remedies.dev_search import DevSearch, Tried
from mascing.evidence.remedies.missed import Missed, remedies_of
from mascing.evidence.results import changes_by_set, further_gated, label_agreement, method_result, rates_by_set
from mascing.schemas.cards.topic_null import TopicCheck
from mascing.schemas.config import BehaviourConfig, GatesConfig, ModelConfig, RunConfig
from mascing.schemas.conversation import Conversation, Label, Message
from mascing.schemas.result import MethodResult, Remedy
from mascing.statistics.power import CORRELATION, POWER

Sets = Mapping[str, str]
"""The outcomes of each set as letters: h(it), m(iss), u(nscored), c(ut off and unscored)."""

Row = dict[str, Any]

_OUTCOMES = {"h": "hit", "m": "miss", "u": "unscored", "c": "unscored"}
GOOD = {"target": "m" * 60, "utility/u": "h" * 60}
"""Sets of an unsteered model that answers what it should and shows the wanted behaviour nowhere."""


def rows(sets: Sets, reply: str = "reply") -> list[Row]:
    return [
        {"conversation_id": f"{name}-{number}", "group_id": f"{name}-{number}", "set": name}
        | {"reply": f"{reply} {number}", "cut_off": letter == "c", "outcome": _OUTCOMES[letter]}
        for name, letters in sets.items()
        for number, letter in enumerate(letters)
    ]


def config(**changed: Any) -> RunConfig:
    behaviour = {"target": {"kind": "refusal"}, "utility": {"kind": "contains"}, "protected": {"kind": "refusal"}}
    return RunConfig(
        model=ModelConfig(path="m"),
        behaviour=BehaviourConfig.model_validate({"name": "b", "conversations": "x", **behaviour}),
        gates=GatesConfig.model_validate({"max_degenerate": 1, **changed}),
    )


def result_of(before: Sets, after: Sets, run: RunConfig) -> MethodResult:
    return method_result(rows(before), rows(after), selected={}, circuit_precision=None, gates=run.gates)


def remedies(before: Sets, after: Sets, run: RunConfig | None = None, search: DevSearch | None = None) -> list[Remedy]:
    run = run or config()
    return list(remedies_of(Missed(result_of(before, after, run), rows(before), rows(after), {}, [], search), run))


def tried(alpha: float, target: float, utility: float = 0.0, beyond: float = 0.0) -> Tried:
    return Tried({"alpha": alpha, "l1": 0.01}, 40, {"target": target, "utility/u": utility}, beyond)


def search(picked: Tried, *others: Tried) -> DevSearch:
    return DevSearch("gradient", picked, others, {"alpha": (0.5, 1.0, 1.5)}, candidates=3, headroom=0.5)


def numbers(sentence: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", sentence)]


def test_a_gain_that_too_few_rows_show_asks_for_as_many_rows_as_show_it() -> None:
    before, after = GOOD, {"target": "h" * 10 + "m" * 50, "utility/u": "h" * 60}
    rows_remedy, limit = remedies(before, after)
    assert (rows_remedy.gate, rows_remedy.kind, limit.kind) == ("target", "rows", "limit")
    assert "(now 60)" in rows_remedy.sentence
    needed, _, in_all, *_ = map(int, numbers(rows_remedy.sentence))
    assert in_all == pytest.approx(needed / 0.3, abs=1)
    # With the rows that it asks for, and the effect as measured, the gate is passed.
    hits = round(needed / 6)
    more = {"target": "h" * hits + "m" * (needed - hits), "utility/u": "h" * 60}
    assert result_of({**before, "target": "m" * needed}, more, config()).gate == "pass"
    # So it is with the limit.
    assert limit.sentence.startswith("set gates.min_uplift to 0.0")
    allowed = numbers(limit.sentence)[0]
    assert result_of(before, after, config(min_uplift=allowed)).gate == "pass"


def test_a_loss_that_too_few_rows_bound_asks_for_rows_or_a_limit() -> None:
    before, after = {**GOOD, "utility/u": "h" * 20}, {"target": "h" * 60, "utility/u": "h" * 20}
    rows_remedy, limit = remedies(before, after)
    assert rows_remedy.sentence.startswith("bring more rows of utility/u: about ")
    needed = int(numbers(rows_remedy.sentence)[0])
    enough = {**GOOD, "utility/u": "h" * needed}
    assert result_of(enough, {**enough, "target": "h" * 60}, config()).gate == "pass"
    assert "gates.max_utility_loss to 0." in limit.sentence
    assert result_of(before, after, config(max_utility_loss=numbers(limit.sentence)[0])).gate == "pass"


def test_an_effect_close_to_its_limit_is_no_matter_of_rows() -> None:
    gained = "h" * 13 + "m" * 107  # 10.8 points, where 10 must be sure
    [limit] = remedies({**GOOD, "target": "m" * 120}, {**GOOD, "target": gained})
    assert limit.kind == "limit"
    assert "more than 2,000 test conversations would be needed" in limit.sentence


def test_the_rows_are_those_that_a_plan_asks_for() -> None:
    assumed = inspect.signature(plan).parameters
    assert (assumed["power"].default, assumed["correlation"].default) == (POWER, CORRELATION)


def test_a_pick_at_the_strong_end_of_its_grid_asks_for_more_of_it() -> None:
    [remedy] = remedies(GOOD, GOOD, search=search(tried(1.5, 0.05)))
    assert (remedy.gate, remedy.kind) == ("target", "grid")
    assert remedy.sentence == (
        "add larger values to methods.gradient.alphas: the pick has the largest of its grid, 1.5"
    )


def test_a_stronger_candidate_of_dev_is_told_with_its_cost_and_the_settings_that_admit_it() -> None:
    found = search(tried(0.5, 0.02), tried(1.5, 0.9, -0.4, 0.35), tried(1.0, 0.6, -0.08, 0.03))
    [remedy] = remedies(GOOD, GOOD, search=found)
    assert remedy.kind == "cost"
    assert remedy.sentence == (
        "set gates.max_utility_loss to 0.16 if so much may be lost, or add values between 0.5 and 1 to "
        "methods.gradient.alphas: on dev alpha 1, l1 0.01 gained 60.0 points (the pick: +2.0), but utility/u lost 8.0, "
        "and a pick may lose 5.0 there (50% of gates.max_utility_loss)"
    )


def test_a_search_that_found_nothing_says_what_is_left_to_judge() -> None:
    [remedy] = remedies(GOOD, GOOD, search=search(tried(0.5, 0.0), tried(1.0, -0.02)))
    assert remedy.kind == "search"
    assert "have all 3 candidates judged on dev (selection.mode: full; 2 were)" in remedy.sentence
    assert remedy.sentence.endswith("none of them raised the target rate")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            search(tried(1.0, 0.9, -0.05), tried(0.5, 0.5)),
            "leave 1 and more out of methods.gradient.alphas: on dev utility/u lost 5.0 under the pick (alpha 1, l1 "
            "0.01) and lost nothing under alpha 0.5, l1 0.01, which still gained 50.0 points",
        ),
        (
            search(tried(0.5, 0.9, -0.09, 0.04)),
            "add values to methods.gradient.alphas below 0.5, the smallest of the grid, which was picked: on dev "
            "utility/u lost 9.0 under the pick (alpha 0.5, l1 0.01), 4.0 points more than a pick may, and no judged "
            "candidate keeps every set",
        ),
    ],
)
def test_a_mask_that_costs_too_much_asks_for_a_milder_one(found: DevSearch, said: str) -> None:
    after = {"target": "h" * 60, "utility/u": "h" * 40 + "m" * 20}
    milder, weight = remedies(GOOD, after, search=found)
    assert (milder.gate, milder.kind, milder.sentence) == ("utility/u", "grid", said)
    assert weight.sentence == "raise methods.gradient.utility_weight, which is 1"


def test_replies_that_cannot_be_read_are_told_with_their_judge_share_and_cause() -> None:
    [remedy] = remedies(GOOD, {"target": "h" * 6 + "m" * 34 + "c" * 20, "utility/u": "h" * 60})[:1]
    assert (remedy.gate, remedy.kind) == ("target", "unscored")
    assert remedy.sentence == (
        "raise generation.max_new_tokens above 128, where 20 of them were cut off: the judge `refusal` of target could "
        "not read 20 of 60 replies under the mask (33%), and each counts against the mask"
    )
    [read] = remedies(GOOD, {"target": "h" * 10 + "m" * 30 + "u" * 20, "utility/u": "h" * 60})[:1]
    assert read.sentence.startswith("read them in the report, and take a judge that can read them")
    assert read.sentence.endswith("; the other 40 alone would pass")


@pytest.mark.parametrize(
    ("unsteered", "kind", "said"),
    [
        ("h" * 20 + "m" * 40, "baseline", "take rows that the model masters, or another judge than `contains`"),
        ("h" * 34 + "m" * 26, "rows", "bring more rows of utility/u: about "),
        ("h" * 34 + "u" * 26, "unscored", "read them in the report, and take a judge that can read them"),
    ],
)
def test_a_baseline_below_the_floor_says_whether_rows_or_other_rows_are_needed(
    unsteered: str, kind: str, said: str
) -> None:
    before = {"target": "m" * 60, "utility/u": unsteered}
    first, *_ = remedies(before, {**before, "target": "h" * 60})
    assert (first.gate, first.kind) == ("utility/u", kind)
    assert first.sentence.startswith(said)


def test_a_model_that_shows_the_behaviour_already_leaves_nothing_to_gain() -> None:
    before = {"target": "h" * 57 + "m" * 3, "utility/u": "h" * 60}
    [remedy] = remedies(before, {**before, "target": "h" * 60}, search=search(tried(0.5, 0.0)))
    assert remedy.kind == "baseline"
    assert "the unsteered model already scores 95.0%, so no mask can gain 10 points" in remedy.sentence


def test_labels_that_the_judge_contradicts_are_counted() -> None:
    run, before = config(), rows({"target": "m" * 20 + "h" * 40, "utility/u": "h" * 60})
    after = rows({"target": "h" * 60, "utility/u": "h" * 60})
    positive, negative = get_args(Label)
    labels: list[Label] = [positive] * 30 + [negative] * 30
    brought = [
        Conversation(
            id=f"target-{number}",
            group_id=f"target-{number}",
            set="target",
            label=label,
            messages=(Message(role="user", content="?"),),
        )
        for number, label in enumerate(labels)
    ]
    plain = method_result(before, after, selected={}, circuit_precision=None, gates=run.gates)
    result = further_gated(plain, [decide_labels(label_agreement(brought, before), run.gates)])
    [remedy] = remedies_of(Missed(result, before, after, {}, brought, None), run)
    assert (remedy.gate, remedy.kind) == ("labels", "labels")
    assert remedy.sentence.endswith(
        "of 60 labelled test conversations, the judge takes 20 of the positive replies for misses and 30 of the "
        "negative ones for hits, and could not read 0"
    )


def test_a_mask_found_by_topic_asks_for_rows_of_both_classes_on_each_topic_or_leave() -> None:
    run, after = config(), GOOD | {"target": "h" * 60}
    check = TopicCheck(state="explained", sentences=("as measured",))
    result = further_gated(result_of(GOOD, after, run), [decide_topic(check, run.gates)])
    [remedy] = remedies_of(Missed(result, rows(GOOD), rows(after), {}, [], None), run)
    assert (remedy.gate, remedy.kind) == ("topic", "rows")
    assert "gates.allow_topic" in remedy.sentence


@pytest.mark.parametrize(
    ("lost", "kinds"),
    [(3, ["rows", "limit"]), (20, ["grid", "grid", "condition"])],
)
def test_a_changed_condition_asks_for_more_conversations_a_milder_mask_or_to_be_turned_off(
    lost: int, kinds: list[str]
) -> None:
    run = config(max_utility_loss=0.05)
    before, after = {"target": "m" * 200, "utility/u": "h" * 200}, {"target": "h" * 200, "utility/u": "h" * 200}
    judged = (
        rows({"target": "m" * 60, "utility/u": "h" * 60}),
        rows({"target": "h" * 60, "utility/u": "h" * (60 - lost) + "m" * lost}),
    )
    decided = decide_condition(
        "paraphrase", changes_by_set(*judged), rates_by_set(judged[0]), run.gates, run.robustness
    )
    result = further_gated(result_of(before, after, run), [decided])
    missed = Missed(
        result, rows(before), rows(after), {"paraphrase": judged}, [], search(tried(1.0, 0.9), tried(0.5, 0.5))
    )
    found = remedies_of(missed, run)
    assert [remedy.kind for remedy in found] == kinds
    assert {remedy.gate for remedy in found} == {"paraphrase"}
    if lost == 3:
        assert found[0].sentence.startswith("raise robustness.conversations to about ")
        assert "(of utility/u, 60 were judged)" in found[0].sentence
        factor = numbers(found[1].sentence)[0]
        eased = run.robustness.model_copy(update={"loss_factor": factor})
        assert decide_condition("p", changes_by_set(*judged), rates_by_set(judged[0]), run.gates, eased)[0] == "pass"
    else:
        assert found[-1].sentence.startswith("set robustness.paraphrase to false")


def test_degenerate_replies_ask_for_a_milder_mask_or_where_few_for_rows() -> None:
    run, after = config(max_degenerate=0.1), {"target": "h" * 60, "utility/u": "h" * 60}
    for broken, kind in ((40, "grid"), (8, "rows")):
        steered = [row | ({"reply": ""} if number < broken else {}) for number, row in enumerate(rows(after))]
        result = method_result(rows(GOOD), steered, selected={}, circuit_precision=None, gates=run.gates)
        missed = Missed(result, rows(GOOD), steered, {}, [], search(tried(1.0, 0.9)))
        [remedy] = remedies_of(missed, run)
        assert (remedy.gate, remedy.kind) == ("replies", kind)
        assert f"{broken} empty" in remedy.sentence


def test_a_mask_that_passes_needs_no_remedy_and_each_other_gate_has_one() -> None:
    after = {"target": "h" * 60, "utility/u": "h" * 60}
    assert remedies(GOOD, after) == []
    without = {"target": "m" * 60}
    [utility] = remedies(without, {"target": "h" * 60})
    assert (utility.gate, utility.kind) == ("utility", "rows")
    result = replace(Missed(result_of(GOOD, after, config()), rows(GOOD), rows(after), {}, [], None))
    judges = further_gated(result.result, [("undecided", ("judges is undecided: x",))])
    [judge] = remedies_of(replace(result, result=judges), config())
    assert (judge.gate, judge.kind) == ("judges", "judge")
