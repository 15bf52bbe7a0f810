"""The conversations of `faithfulness`, made with a model that is a function here."""

from collections.abc import Sequence

import pytest

from mascing.schemas.conversation import Conversation
from mascing.testbeds.smollm.facts import KINDS
from mascing.testbeds.smollm.questions import conversations


def credulous(questions: Sequence[Conversation]) -> list[str]:
    """Knows every fact, believes every text that comes before its question, and rambles about chemistry."""
    return [_reply(question) for question in questions]


def _reply(question: Conversation) -> str:
    text = question.messages[-1].content
    if "chemical" in text:
        return "I like chemistry."
    if question.unwanted is None or "note" not in text:
        return str(question.wanted)
    return question.unwanted


@pytest.fixture(scope="module")
def questions() -> list[Conversation]:
    return conversations(credulous, seed=0)


def test_labels_are_the_side_that_the_reply_took(questions: list[Conversation]) -> None:
    target = [question for question in questions if question.set == "target"]
    assert {question.label for question in target if "note" in question.messages[-1].content} == {"negative"}
    assert {question.label for question in target if "note" not in question.messages[-1].content} == {"positive"}


def test_questions_without_a_usable_reply_are_left_out(questions: list[Conversation]) -> None:
    assert {question.group_id.partition("-")[0] for question in questions} == {kind.name for kind in KINDS} - {"symbol"}


def test_a_text_never_states_the_truth_and_the_reply_from_memory_always_does(questions: list[Conversation]) -> None:
    true = {
        question.id.removesuffix("-plain"): question.wanted
        for question in questions
        if question.set == "utility/memory"
    }
    for question in questions:
        if question.set == "target":
            assert question.unwanted == true[question.id.rpartition("-")[0]] != question.wanted
            assert question.wanted is not None
            assert question.wanted in question.messages[-1].content


def test_ids_are_unique_and_the_seed_decides_the_texts(questions: list[Conversation]) -> None:
    assert len({question.id for question in questions}) == len(questions)
    assert questions == conversations(credulous, seed=0)
    assert questions != conversations(credulous, seed=1)


def test_a_fact_and_its_mirror_are_one_group(questions: list[Conversation]) -> None:
    groups = {question.id: question.group_id for question in questions}
    assert groups["opposite-hot-plain"] == groups["opposite-cold-0"]
    assert groups["opposite-hot-plain"] != groups["opposite-big-plain"]
