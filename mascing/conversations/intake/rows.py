"""From a row to a conversation, or to all that keeps the row from being one."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from mascing.conversations.intake.layouts import OWN, Layout
from mascing.conversations.intake.mapping import MissingColumn, consumed, is_read, value_of
from mascing.conversations.intake.raw import Raw, Row
from mascing.conversations.intake.rewriting import with_options, wrong_answer
from mascing.conversations.intake.turns import are_turns, parsed, turns_of
from mascing.schemas.catalogue.sources import SourceConfig
from mascing.schemas.conversation import SET_PATTERN, Conversation, Label
from mascing.validation import complaints

_UNREAD = [{"role": "user", "content": "-"}]
"""Stands for turns that cannot be read, of which a complaint is made already."""

_HINTS = {"label:": " (if it means something else, `columns: {label: null}` keeps it as metadata)"}
_REPLIES = ("wanted", "unwanted")
_LONGEST_NAME = 100
"""Characters of the name of a row or group of a source; a column may hold a whole text there."""
_PLAIN = ("id", "group_id", "set", "label", *_REPLIES, "paraphrase")


@dataclass(frozen=True)
class Quarantined:
    """A row that was not used: its number (from 1), its id if readable, the reasons, and the start of its text.

    The number is that of the line in JSON Lines, else of the row. ``traceback`` ends where an exception was raised over
    it, if one was.
    """

    row: int
    id: str | None
    reason: str
    text: str
    traceback: str | None = None


@dataclass(frozen=True)
class Used:
    """A row that is a conversation.

    ``hashed`` if its id is a hash of its content, ``grouped`` if its group_id is a hash of its first request.
    """

    row: int
    conversation: Conversation
    hashed: bool
    grouped: bool


class Maker:
    """Makes conversations of the rows of one layout.

    With a ``source``, its name goes before their ids and given group ids, so that those of other sources are others.
    """

    def __init__(self, layout: Layout, max_characters: int, source: SourceConfig | None = None) -> None:
        self._layout = layout
        self._max_characters = max_characters
        self._source = source
        self._read = consumed(layout.columns)
        # In the layouts of others, `set` and `label` may be columns of another meaning.
        self._lenient = layout.name not in ("messages", OWN)

    def make(self, raw: Raw) -> Iterator[Used | Quarantined]:
        """The conversations of a row: one, or several if it holds several questions."""
        if raw.value is None:
            yield Quarantined(raw.number, None, raw.problem, raw.text)
            return
        given = {name: value for name, value in raw.value.items() if value is not None}
        for row in self._layout.rewrite(given):
            yield self._one(row, given, raw)

    def _one(self, row: Row, given: Row, raw: Raw) -> Used | Quarantined:
        fields, reply, problems = self._fields(row)
        if self._layout.rewrite is with_options and fields.get("references") == [] and (wrong := wrong_answer(given)):
            problems.append(wrong)
        hashed = "id" not in fields
        if hashed:
            fields["id"] = hash_of(row)
        grouped = "group_id" not in fields
        if grouped:
            fields["group_id"] = hash_of(_first_request(fields.get("messages")))
        if self._source is not None:
            fields |= _of_source(self._source, fields)
        conversation = None
        try:
            conversation = Conversation.model_validate(fields | {"metadata": self._metadata(row, reply)})
        except ValidationError as error:
            problems += [complaint + _HINTS.get(complaint[:6], "") for complaint in complaints(error, Conversation)]
        characters = sum(map(len, _texts(fields.get("messages"))))
        if characters > self._max_characters:
            problems.append(f"over-long: {characters} characters, at most {self._max_characters} allowed")
        if conversation is None or problems:
            known = fields["id"] if not hashed and isinstance(fields["id"], str) else None
            return Quarantined(raw.number, known, "; ".join(problems), raw.text)
        return Used(raw.number, conversation, hashed, grouped)

    def _fields(self, row: Row) -> tuple[Row, str | None, list[str]]:
        """The fields that the row gives, the reply that was cut off its end or stands beside, and complaints."""
        columns, problems = self._layout.columns, []
        fields: Row = {}
        for field in _PLAIN:
            source = getattr(columns, field)
            try:
                value = value_of(row, field, source) if source is not None else None
            except MissingColumn as missing:
                problems.append(f"{field}: {missing}")
                continue
            blank = field in _REPLIES and isinstance(value, str) and not value.strip()
            if value is not None and not blank and not (self._lenient and _of_others(field, value)):
                fields[field] = _name(value) if field in ("id", "group_id") else value
        if row.get("id") == "" and columns.id is not None:
            fields.setdefault("id", "")
        if isinstance(row.get("contrast"), bool):
            fields["contrast"] = row["contrast"]
        if columns.references is not None:
            sources = (columns.references,) if isinstance(columns.references, str) else columns.references
            fields["references"] = list(
                dict.fromkeys(text for source in sources for text in _answers(value_of(row, "references", source)))
            )
        turns, more = self._turns(row)
        replies = _cut_replies(turns)
        if turns is not None:
            fields["messages"] = turns
        beside = value_of(row, "reply", columns.reply) if columns.reply is not None else None
        reply = "\n\n".join(replies) if replies else _text_of(beside) if beside is not None else None
        return fields, reply, [*problems, *more]

    def _turns(self, row: Row) -> tuple[Any, list[str]]:
        columns, problems = self._layout.columns, []
        try:
            asked = value_of(row, "user", columns.user) if columns.user is not None else None
            instructed = value_of(row, "system", columns.system) if columns.system is not None else None
        except MissingColumn as missing:
            return _UNREAD, [str(missing)]
        turns: Any = None
        if columns.messages is not None:
            found = value_of(row, "messages", columns.messages)
            turns, problems = turns_of(found) if found is not None else (None, [])
        elif are_turns(parsed(asked)):
            turns, problems = turns_of(asked)
        elif asked is not None:
            turns = [{"role": "user", "content": asked}]
        else:
            return _UNREAD, [f"{columns.user}: is required"]
        if instructed is not None and are_turns(turns) and turns[0].get("role") != "system":
            [first], more = turns_of([{"role": "system", "content": instructed}])
            turns, problems = [first, *turns], [*more, *problems]
        return turns, problems

    def _metadata(self, row: Row, reply: str | None) -> dict[str, str]:
        """The columns that mean nothing here, as texts, or as JSON where they are none."""
        metadata: dict[str, str] = {}
        for name, value in row.items():
            if name == "metadata" and isinstance(inner := _mapping(value), Mapping):
                metadata |= {str(key): _text_of(item) for key, item in inner.items() if item is not None}
            elif self._is_metadata(name, value):
                metadata[name] = _text_of(value)
        return metadata | ({"reply": reply} if reply is not None else {})

    def _is_metadata(self, name: str, value: Any) -> bool:
        if name == "contrast" and isinstance(value, bool):
            return False
        return not is_read(name, self._read) or (self._lenient and _of_others(name, value))


def _of_source(source: SourceConfig, fields: Row) -> Row:
    """The fields that all conversations of a source share, and an id that is that of no other source.

    A group is the same wherever it stands: one goal asked in two sources must not be in train and in test.
    """
    named: Row = {name: _short(fields[name]) for name in ("id", "group_id") if isinstance(fields[name], str)}
    if named.get("id"):
        named["id"] = f"{source.name}:{named['id']}"
    if source.set is not None:
        named["set"] = source.set
    if source.answers:
        named["references"] = list(source.answers)
    return named


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else hash_of(name)


def _of_others(field: str, value: Any) -> bool:
    """Whether a `set` or a `label` means something else than ours."""
    if field == "set":
        return not (isinstance(value, str) and SET_PATTERN.fullmatch(value))
    return field == "label" and value not in get_args(Label)


def _cut_replies(turns: Any) -> list[str]:
    """Take the assistant's turns off the end, unless nothing else is there."""
    replies: list[str] = []
    if not isinstance(turns, list) or not any(isinstance(t, dict) and t.get("role") == "user" for t in turns):
        return replies
    while isinstance(turns[-1], dict) and turns[-1].get("role") == "assistant":
        replies.insert(0, str(turns.pop().get("content") or ""))
    return replies


def _answers(value: Any) -> list[str]:
    """Accepted answers as texts: of one, of a list, of lists in a list, or of {"text": […]}."""
    value = parsed(value)
    if value is None:
        return []
    if isinstance(value, Mapping):
        return _answers(value.get("text", value.get("value")))
    if isinstance(value, list | tuple):
        return [text for item in value for text in _answers(item)]
    return [text] if (text := _text_of(value)).strip() else []


def _name(value: Any) -> Any:
    """An id as text: files number their rows."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _mapping(value: Any) -> Any:
    """A mapping, also where Arrow gives it as pairs."""
    if isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return dict(value)
    return value


def _text_of(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_text_of_other)


def _text_of_other(value: Any) -> str:
    return _text_of(value) if isinstance(value, bytes) else str(value)


def _texts(turns: Any) -> Iterator[str]:
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict) and isinstance(turn.get("content"), str):
            yield turn["content"]


def _first_request(turns: Any) -> str:
    """The first request with single blanks between its words."""
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict) and turn.get("role") == "user":
            return " ".join(str(turn.get("content")).split())
    return ""


def hash_of(value: Any) -> str:
    """A short hash of a row, by which it is known when it has no name."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_text_of_other)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
