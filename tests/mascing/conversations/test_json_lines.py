import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mascing.conversations.parquet_tables import from_table, quarantine_table, to_table
from mascing.errors import DataError
from tests.mascing.conversations.lines import decode_lines, parse_conversations

PROPERTY = settings(max_examples=30, deadline=None, derandomize=True, database=None)
USER = {"role": "user", "content": "how do i bake bread"}
ASSISTANT = {"role": "assistant", "content": "with flour"}
TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


def row(**changes: Any) -> str:
    fields = {"id": "c1", "group_id": "g1", "messages": [USER]} | changes
    return json.dumps({key: value for key, value in fields.items() if value != "LEFT OUT"})


GOOD = row(id="good")


def test_rows_are_read_in_order_with_all_their_fields() -> None:
    full = row(id="full", set="utility/short-answers", label="positive", wanted="yes", unwanted="no",
               paraphrase="bread, please",
               messages=[{"role": "system", "content": "be brief"}, USER, ASSISTANT, USER])  # fmt: skip
    conversations, quarantined = parse_conversations([GOOD, "", full, "  \r"], max_characters=1000)
    assert [conversation.id for conversation in conversations] == ["good", "full"]
    assert conversations[1].model_dump(mode="json") == json.loads(full) | {
        "contrast": True,
        "metadata": {},
        "references": [],
    }
    assert conversations[1].turns == 2
    assert quarantined == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "not JSON"),
        ("bread", "not JSON"),
        (GOOD + GOOD, "not JSON: Extra data"),
        ("[1]", "not a JSON object but a list"),
        ('"bread"', "not a JSON object but a string"),
        ("7", "not a JSON object but a number"),
        ("null", "not a JSON object but null"),
        ("true", "not a JSON object but true or false"),
        ("{}", "messages: is required"),
        (row(id=float("nan")), "not JSON: NaN is not a JSON value"),
        ('{"id": "a", "id": "b"}', "not JSON: the key 'id' stands there twice"),
        ("[" * 100_000, "nested too deeply"),
        ('{"id": ' + "9" * 5000 + "}", "not JSON"),
        (row(id=""), "id: must not be empty"),
        (row(messages="LEFT OUT"), "messages: is required"),
        (row(messages=[]), "messages: must not be empty"),
        (row(messages="how"), 'messages: must be a list, got "how"'),
        (row(messages=["how"]), "messages.0: must be a mapping"),
        (row(messages=[ASSISTANT]), "the conversation has no user turn"),
        (row(messages=[USER | {"role": "narrator"}]), "messages.0.role: must be one of 'system', 'user' or"),
        (row(messages=[{"content": "how"}]), "messages.0.role: is required"),
        (row(messages=[USER | {"content": ""}]), "messages.0.content: must not be empty"),
        (row(messages=[USER | {"content": " \n\t"}]), "messages.0.content: the text of a turn is blank"),
        (row(messages=[USER | {"content": 7}]), "messages.0.content: must be text"),
        (row(messages=[USER | {"content": None}]), "messages.0.content: must be text"),
        (row(messages=[USER | {"content": "x" * 1001}]), "over-long: 1001 characters, at most 1000 allowed"),
        (row(messages=[USER | {"content": "\ud83d"}]), "half of a surrogate pair"),
        (row(set="utility"), "set: set 'utility' is not target, utility/<name> or protected/<name>"),
        (row(set="utility/Bad Name"), "is not target, utility/<name>"),
        (row(set="target\n"), "is not target"),
        (row(label="good"), "label: must be one of 'positive' or 'negative'"),
        (row(wanted=7), "wanted: must be text"),
        (GOOD, "duplicate id 'good': line 1 has it already"),
        (b'{"id": "caf\xe9"}'.decode("utf-8", "surrogateescape"), "not UTF-8 text"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_kept_aside_with_the_reason(line: str, reason: str) -> None:
    conversations, quarantined = parse_conversations([GOOD, line, row(id="after")], max_characters=1000)
    assert [conversation.id for conversation in conversations] == ["good", "after"]
    (aside,) = quarantined
    assert aside.row == 2
    assert reason in aside.reason
    assert len(aside.text) <= 200
    assert quarantine_table(quarantined).to_pylist() == [vars(aside)]


@pytest.mark.parametrize(
    "line",
    [
        row(id="LEFT OUT"),
        row(id=7),
        row(id=None),
        row(group_id="LEFT OUT"),
        row(messages=[USER, ASSISTANT]),
        row(messages=[USER | {"name": "ann"}]),
        row(messages=[USER | {"role": "human"}]),
        row(lable="positive"),
        row(category="food"),
    ],
)
def test_what_a_row_lacks_or_has_too_much_does_not_refuse_it(line: str) -> None:
    conversations, quarantined = parse_conversations([GOOD, line], max_characters=1000)
    assert len(conversations) == 2
    assert [message.content for message in conversations[1].messages] == [USER["content"]]
    assert quarantined == []


def test_all_complaints_of_a_row_come_at_once() -> None:
    bad = row(id="", label="good", set="other", messages=[USER | {"content": " "}, {"role": "tool", "content": "x"}])
    _, (aside,) = parse_conversations([GOOD, bad], max_characters=1000)
    for complaint in ("id: must", "label: must", "set: set", "messages.0.content: the", "messages.1: a turn of a tool"):
        assert complaint in aside.reason


def test_a_readable_id_is_kept_with_the_row() -> None:
    _, quarantined = parse_conversations(
        [GOOD, row(id="broken", messages=[]), row(id="LEFT OUT", messages=[])], max_characters=100
    )
    assert [aside.id for aside in quarantined] == ["broken", None]


def test_of_rows_with_one_id_the_first_usable_one_counts() -> None:
    lines = [row(id="a", messages=[]), row(id="a"), row(id="a")]
    conversations, quarantined = parse_conversations(lines, max_characters=100)
    assert len(conversations) == 1
    assert [aside.row for aside in quarantined] == [1, 3]


@pytest.mark.parametrize("lines", [[], ["", "  "], ["{", "bread"], ["{"] * 9])
def test_no_usable_row_at_all_is_an_error(lines: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        parse_conversations(lines, max_characters=100)
    assert "\n" not in str(caught.value)
    assert ("x not JSON" in str(caught.value)) == ("{" in lines)


@PROPERTY
@given(
    st.lists(st.sampled_from([GOOD, row(id="x"), row(id="y"), "{", "[]", row(messages=[])]) | st.text(), max_size=12)
)
def test_counts_add_up_whatever_comes(lines: list[str]) -> None:
    conversations, quarantined = parse_conversations([GOOD, *lines], max_characters=100)
    assert len(conversations) + len(quarantined) == sum(bool(line.strip()) for line in [GOOD, *lines])
    assert len({conversation.id for conversation in conversations}) == len(conversations)


@PROPERTY
@given(st.binary())
def test_any_bytes_are_read_or_kept_aside(data: bytes) -> None:
    lines = decode_lines(GOOD.encode() + b"\n" + data)
    _, quarantined = parse_conversations(lines, max_characters=100)
    assert len(quarantined) == sum(bool(line.strip()) for line in lines[1:])
    written = io.BytesIO()
    pq.write_table(quarantine_table(quarantined), written)  # whatever the bytes were, the table can be stored


def test_bytes_that_are_not_utf8_spoil_their_own_line_alone() -> None:
    data = b"\xef\xbb\xbf" + GOOD.encode() + b'\r\n{"id": "\xff"}\n' + row(id="ünï \u2028 x").encode() + b"\n"
    conversations, quarantined = parse_conversations(decode_lines(data), max_characters=100)
    assert [conversation.id for conversation in conversations] == ["good", "ünï \u2028 x"]
    assert quarantined[0].text == '{"id": "\ufffd"}'


@PROPERTY
@given(st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["positive", None]), TEXT), unique_by=lambda row: row[0]))
def test_tables_keep_every_field(rows: list[tuple[str, str, str | None, str]]) -> None:
    lines = [row(id=i, group_id=g, label=label, messages=[USER, ASSISTANT, USER | {"content": text}], wanted=text)
             for i, g, label, text in rows]  # fmt: skip
    conversations, _ = parse_conversations([GOOD.replace("good", "\\u0000"), *lines], max_characters=10_000)
    written = io.BytesIO()
    pq.write_table(to_table(conversations), written)
    assert from_table(pq.read_table(written)) == conversations


def test_another_table_is_no_conversations() -> None:
    with pytest.raises(DataError, match="not a table of conversations"):
        from_table(pa.table({"id": ["a"]}))
