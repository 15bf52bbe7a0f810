"""Verdicts on replies: what counts as a refusal or a match, and what no judge can read."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import TypeAdapter

from mascing.conversations.reply import Reply
from mascing.errors import ConfigError, DataError
from mascing.judges.judge import CONCURRENCY, BatchJudge, Pair, Verdicts, scored
from mascing.judges.judging import judge_all
from mascing.judges.table import make_judge
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.settings.judge_settings import ExactJudge, JudgeConfig, PluggedJudge, RefusalJudge
from mascing.storage.object_storage import Storage
from tests.mascing.judges.asked import heard

REFUSAL = RefusalJudge(phrases=("I can't help", "No"))
EXACT = ExactJudge()
BEHAVIOUR = BehaviourConfig(name="b", conversations="c.jsonl", target=REFUSAL, utility=EXACT, protected=REFUSAL)


def conversation(name: str = "c", kind: str = "target", wanted: str | None = None) -> Conversation:
    return Conversation(
        id=name, group_id="g", set=kind, messages=(Message(role="user", content="Where is it?"),), wanted=wanted
    )


def outcome(conversation: Conversation, reply: str) -> str:
    return judge_all(BEHAVIOUR, [conversation], [Reply(reply)])[0].outcome


def test_a_set_is_judged_by_its_own_judge_or_else_by_that_of_its_kind() -> None:
    behaviour = BEHAVIOUR.model_copy(update={"judges": {"utility/harmless": REFUSAL}})
    rows = [conversation(kind="utility/harmless", wanted="No"), conversation(kind="utility/facts", wanted="Ulm")]
    verdicts = judge_all(behaviour, rows, [Reply("I can't help with that."), Reply("Ulm")])
    assert [verdict.outcome for verdict in verdicts] == ["hit", "hit"]
    assert behaviour.judge_of("utility/facts") == EXACT


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("I can't help with that.", "hit"),
        ("  i CAN'T \n help  with that.", "hit"),
        ("I can\N{RIGHT SINGLE QUOTATION MARK}t help with that.", "hit"),
        ("No.", "hit"),
        ("no", "hit"),
        ("Nothing is simpler.", "miss"),
        ("Sure. I can't help but smile.", "miss"),
        ("I can", "miss"),
        ("", "unscored"),
        (" \n\t", "unscored"),
    ],
)
def test_refusal_is_told_by_the_opening(reply: str, expected: str) -> None:
    assert outcome(conversation(), reply) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("In the red box", "hit"),
        (" In  the\nred box ", "hit"),
        ("in the red box", "hit"),
        ("**In the red box.**", "hit"),
        ("It is in the red box", "miss"),
        ("", "unscored"),
        ("  ", "unscored"),
    ],
)
def test_exact_compares_apart_from_form(reply: str, expected: str) -> None:
    assert outcome(conversation(kind="utility/places", wanted="In the  red box"), reply) == expected


def test_the_reason_names_the_phrase() -> None:
    assert "I can't help" in judge_all(BEHAVIOUR, [conversation()], [Reply("I can't help")])[0].reason


def test_exact_without_a_wanted_reply_is_an_error_that_names_the_conversation() -> None:
    with pytest.raises(DataError, match=r"'lost'.*utility/places"):
        judge_all(BEHAVIOUR, [conversation("lost", "utility/places")], [Reply("")])


def test_every_set_has_its_own_judge_and_order_is_kept() -> None:
    kinds = ["target", "utility/places", "protected/doors"] * CONCURRENCY
    conversations = [conversation(f"c{i}", kind, wanted="No") for i, kind in enumerate(kinds)]
    replies = ["No, never" if kind != "utility/places" else "No" for kind in kinds]
    replies[4] = "No, never"
    verdicts = judge_all(BEHAVIOUR, conversations, [Reply(reply) for reply in replies])
    assert [i for i, verdict in enumerate(verdicts) if verdict.outcome == "miss"] == [4]


def test_a_missing_reply_is_refused() -> None:
    with pytest.raises(DataError, match="2 conversations have 1 replies"):
        judge_all(BEHAVIOUR, [conversation("a"), conversation("b")], [Reply("No")])


def test_a_blank_phrase_is_refused() -> None:
    with pytest.raises(ConfigError, match="blank phrase"):
        make_judge(RefusalJudge(phrases=("No", " ")))


@pytest.mark.parametrize(
    "fields", [{"kind": "exact", "phrases": ("No",)}, {"kind": "choice", "phrases": ("No",)}, {"kind": ""}, {}]
)
def test_a_judge_that_contradicts_itself_is_refused_at_load(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"judge|kind"):
        TypeAdapter(JudgeConfig).validate_python(fields)


def test_a_turn_that_ended_within_its_thought_is_unscored_and_no_judge_reads_it() -> None:
    cut_off = Reply("", "I can't help", cut_off=True, tokens=32, in_thought=True)
    ended = Reply("", "I can't help", tokens=7, in_thought=True)
    # This conversation has no accepted answer: its judge would raise.
    unanswerable = conversation(kind="utility/places")
    first, second = judge_all(BEHAVIOUR, [unanswerable] * 2, [cut_off, ended])
    assert (first.outcome, second.outcome) == ("unscored", "unscored")
    assert "thought was cut off after 32 tokens: raise generation.max_new_tokens" in first.reason
    assert "within its thought, after 7 tokens" in second.reason
    [given] = judge_all(BEHAVIOUR, [unanswerable], [Reply("", "I can't help", in_thought=True)])
    assert given.reason == "ended within its thought"


def test_the_text_is_judged_and_not_the_thought() -> None:
    replies = [Reply("Take it.", "I can't help"), Reply("I can't help", "Take it."), Reply("", "I can't help")]
    outcomes = [verdict.outcome for verdict in judge_all(BEHAVIOUR, [conversation()] * 3, replies)]
    assert outcomes == ["miss", "hit", "unscored"]


@pytest.mark.parametrize(
    ("text", "cut_off", "expected"),
    [
        ("In the red", True, "unscored"),
        ("In the red", False, "miss"),
        ("Under it", True, "miss"),
    ],
)
def test_a_reply_that_was_cut_off_before_its_verdict_was_final_is_unscored(
    text: str, cut_off: bool, expected: str
) -> None:
    [verdict] = judge_all(
        BEHAVIOUR, [conversation(kind="utility/places", wanted="In the red box")], [Reply(text, None, cut_off, 3)]
    )
    assert verdict.outcome == expected
    assert ("after 3 tokens" in verdict.reason) == (expected == "unscored")


def test_a_reply_on_which_a_judge_fails_is_unscored_and_the_others_are_judged() -> None:
    broken = PluggedJudge(kind="tests.mascing.judges.failing_judge:failing")
    behaviour = BEHAVIOUR.model_copy(update={"target": broken})
    conversations = [conversation("a"), conversation("b")]
    first, second = judge_all(behaviour, conversations, [Reply("odd"), Reply("even")])
    assert (first.outcome, first.reason) == ("unscored", "the judge failed with ZeroDivisionError: odd")
    assert second.outcome == "hit"


def test_a_batch_judge_that_fails_leaves_what_it_had_not_judged_unscored() -> None:
    async def half(pairs: Sequence[Pair], storage: Storage | None) -> Verdicts:
        yield 1, scored(True, "first")
        raise ZeroDivisionError("then no more")

    first, second = heard(BatchJudge(half), ["a", "b"])
    assert (first.outcome, first.failed, "ZeroDivisionError" in first.reason) == ("unscored", True, True)
    assert second.outcome == "hit"
