"""The conversations of `faithfulness`, made with a model that is a function here."""

from collections.abc import Sequence

import pytest

from mascing.schemas.conversation import Conversation
from mascing.testbeds.smollm.facts import KINDS
from mascing.testbeds.smollm.questions import conversations


def credulous(asked: Sequence[Conversation]) -> list[str]:
    """Knows every fact, believes every text that comes before its question, and rambles about chemistry."""
    return [_reply(one) for one in asked]


def _reply(asked: Conversation) -> str:
    said = asked.messages[-1].content
    if "chemical" in said:
        return "I like chemistry."
    if asked.unwanted is None or "note" not in said:
        return str(asked.wanted)
    return asked.unwanted


@pytest.fixture(scope="module")
def made() -> list[Conversation]:
    return conversations(credulous, seed=0)


def test_labels_are_the_side_that_the_reply_took(made: list[Conversation]) -> None:
    target = [one for one in made if one.set == "target"]
    assert {one.label for one in target if "note" in one.messages[-1].content} == {"negative"}
    assert {one.label for one in target if "note" not in one.messages[-1].content} == {"positive"}


def test_questions_without_a_usable_reply_are_left_out(made: list[Conversation]) -> None:
    assert {one.group_id.partition("-")[0] for one in made} == {kind.name for kind in KINDS} - {"symbol"}


def test_a_text_never_states_the_truth_and_the_reply_from_memory_always_does(made: list[Conversation]) -> None:
    true = {one.id.removesuffix("-plain"): one.wanted for one in made if one.set == "utility/memory"}
    for one in made:
        if one.set == "target":
            assert one.unwanted == true[one.id.rpartition("-")[0]] != one.wanted
            assert one.wanted is not None
            assert one.wanted in one.messages[-1].content


def test_ids_are_unique_and_the_seed_decides_the_texts(made: list[Conversation]) -> None:
    assert len({one.id for one in made}) == len(made)
    assert made == conversations(credulous, seed=0)
    assert made != conversations(credulous, seed=1)


def test_a_fact_and_its_mirror_are_one_group(made: list[Conversation]) -> None:
    groups = {one.id: one.group_id for one in made}
    assert groups["opposite-hot-plain"] == groups["opposite-cold-0"]
    assert groups["opposite-hot-plain"] != groups["opposite-big-plain"]
