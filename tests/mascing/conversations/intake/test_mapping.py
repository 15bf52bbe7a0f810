"""The user's own mapping of columns, and what rows without ids and groups get."""

import json
from typing import Any

import pytest

from mascing.errors import DataError
from tests.mascing.conversations.intake.files import opened, read

QA = b"qid,context,question,answer,topic,label\n1,Rye is blue.,Which?,rye,bread,0\n2,,Why?,oat,bread,1\n"


def lines(*rows: dict[str, Any]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def test_columns_are_read_as_the_mapping_says() -> None:
    columns = {
        "user": "{context?}\n\n{question}", "system": "Be brief about {topic}.", "id": "qid", "group_id": "topic",
        "references": "answer", "set": "utility/qa", "label": None,
    }  # fmt: skip
    first, second = read(QA, columns).conversations
    assert [message.content for message in first.messages] == ["Be brief about bread.", "Rye is blue.\n\nWhich?"]
    assert second.messages[-1].content == "Why?"
    assert (first.id, first.group_id, first.set, first.references) == ("1", "bread", "utility/qa", ("rye",))
    assert first.metadata == {"label": "0"}


def test_a_needed_column_that_a_row_lacks_keeps_the_row_aside() -> None:
    found = read(QA, {"user": "{context}\n\n{question}", "label": None})
    assert [(row.row, row.reason.split(";")[0]) for row in found.quarantined] == [
        (2, "column 'context' is missing or empty")
    ]


def test_a_mapping_may_change_a_ready_made_layout() -> None:
    named = read(QA, {"layout": "questions", "set": "protected/qa"}).conversations[0]
    assert (named.set, named.references) == ("protected/qa", ("rye",))
    assert read(QA, {"set": "protected/qa"}).conversations[0] == named


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": "questoin"}, "no row has questoin, which user is read from; did you mean 'question'"),
        ({"user": None}, "the requests are read from nowhere"),
        ({"user": "question", "group_id": "goal|subject"}, "no row has goal or subject"),
        ("xstest", "no row has prompt"),
    ],
)
def test_a_column_that_is_not_there_is_said_at_once(columns: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(QA, columns)


def test_ids_are_hashes_of_the_rows_and_groups_of_the_first_request() -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "Name a bread", "n": 1},
        {"prompt": "Name  a bread", "n": 2},
        {"prompt": "Name a town"},
    ]
    first, second, third = read(lines(*rows)).conversations
    assert first.group_id == second.group_id != third.group_id
    assert len({first.id, second.id, third.id}) == 3
    assert [row.id for row in read(lines(*rows[1:])).conversations] == [second.id, third.id]


def test_equal_rows_are_kept_aside_with_the_row_that_they_equal() -> None:
    row = {"prompt": "Name a bread"}
    found = read(lines({"prompt": "a"}, row, row))
    assert [(aside.row, aside.reason) for aside in found.quarantined] == [(3, "equal to line 2")]
    assert list(found.row_of.values()) == [1, 2]


def test_a_name_that_is_close_to_one_of_ours_or_says_that_a_model_was_given_it_is_told() -> None:
    row = {"messages": [{"role": "user", "content": "a"}], "lable": "positive", "context": "x"}
    reading = opened(lines(row))
    assert reading.notes == [
        "column 'lable' is kept as metadata; did you mean 'label'?",
        "column 'context' is metadata and no part of the conversation; if it should be one, say so by `columns`",
    ]


@pytest.mark.parametrize(("name", "field"), [("Set", "set"), ("ID", "id"), ("groupId", "group_id")])
def test_a_name_in_other_letters_than_ours_is_told(name: str, field: str) -> None:
    reading = opened(lines({"prompt": "a", name: "utility/x"}))
    assert reading.notes == [f"column {name!r} is kept as metadata; did you mean {field!r}?"]


def test_blank_replies_and_answers_are_missing() -> None:
    row = {"messages": [{"role": "user", "content": "a"}], "wanted": "  ", "unwanted": "\n", "references": [" "]}
    (conversation,) = read(lines(row)).conversations
    assert (conversation.wanted, conversation.unwanted, conversation.references) == (None, None, ())


def test_ambiguous_columns_are_not_guessed() -> None:
    with pytest.raises(DataError, match="the columns fit harmbench and jailbreakbench: say which by `columns`"):
        opened(b"Goal,Behavior,Category,BehaviorID\na,b,c,d\n")


def test_turns_that_cannot_be_used_are_complained_of_once() -> None:
    wrong = {"messages": [{"role": "baker", "content": "a"}]}
    (aside,) = read(lines(wrong, {"messages": [{"role": "user", "content": "a"}]})).quarantined
    assert aside.reason.startswith("messages.0.role: must be one of")
    assert ";" not in aside.reason
