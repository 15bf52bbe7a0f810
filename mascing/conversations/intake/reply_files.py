"""Files of replies to be judged: each row's reply and conversation, in the formats and layouts that a run reads."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mascing.conversations.intake.formats import format_of
from mascing.conversations.intake.layouts import Layout, layout_of
from mascing.conversations.intake.mapping import consumed, is_read
from mascing.conversations.intake.opening import Opener, opened
from mascing.conversations.intake.raw import Raw, Row
from mascing.conversations.intake.rows import Maker, Quarantined
from mascing.errors import DataError
from mascing.schemas.conversation import Conversation, Message

REPLY_COLUMNS = ("reply", "completion", "response", "generation", "output")
"""The names that the column of the replies may have; the first that is there counts."""

_PROMPT = ("prompt", "question", "goal", "instruction", "input")
_ANSWERS = ("references", "answers", "answerKey", "answer_key", "wanted", "answer", "target")
_GROUP = ("group_id", "group", "goal", "prompt", "question")
_SAMPLED = 200
_NONE = "has no reply"


@dataclass(frozen=True)
class GivenReply:
    """A row with a reply: its number from 1, its columns, what was asked and what was said."""

    number: int
    columns: Row
    conversation: Conversation
    text: str


@dataclass
class ReplyFile:
    """The replies of a file in order, its columns, and the numbers of the rows without a reply with the reasons."""

    columns: tuple[str, ...]
    replies: list[GivenReply] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)


def read_replies(files: Mapping[str, Opener], column: str = "") -> ReplyFile:
    """Read the replies of files by name.

    They stand in ``column``, or in one of `REPLY_COLUMNS`, or else where the layout has them: in the last turn of the
    assistant or in the metadata. Raises DataError if a file cannot be read or there are no replies.
    """
    raws = [raw for name, file in files.items() for raw in format_of(opened(name, file)).rows()]
    rows = [raw.value for raw in raws if raw.value is not None]
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    if not raws:
        raise DataError(f"{', '.join(files)} has no rows")
    source = _source(rows, columns, column)
    layout = _layout(rows)
    reader = _Reader(layout, source)
    found = ReplyFile(columns)
    for number, raw in enumerate(raws, start=1):
        read = reader.read(number, raw)
        if isinstance(read, str):
            found.left_out.append((number, read))
        else:
            found.replies.append(read)
    if not found.replies and all(reason == _NONE for _, reason in found.left_out):
        raise DataError(f"no column {' or '.join(REPLY_COLUMNS)} for the replies: {_name_one(columns)}")
    if not found.replies:
        raise DataError(f"no row has a reply: row {found.left_out[0][0]} {found.left_out[0][1]}")
    return found


class _Reader:
    """Reads rows whose replies stand in the column ``source`` or, if that is None, where the layout has them."""

    def __init__(self, layout: Layout | None, source: str | None) -> None:
        self._source = source
        self._maker = None if layout is None else Maker(layout, sys.maxsize)
        # A column that the layout takes for the reply is no accepted answer.
        self._taken = set() if layout is None or source is not None else consumed(layout.columns)

    def read(self, number: int, raw: Raw) -> GivenReply | str:
        """The reply of a row, or why there is none."""
        if raw.value is None:
            return f"cannot be read: {raw.problem}"
        made = next(self._maker.make(raw)) if self._maker is not None else None
        problem = f"cannot be read: {made.reason}" if isinstance(made, Quarantined) else None
        laid_out = None if made is None or isinstance(made, Quarantined) else made.conversation
        if self._source is not None:
            text = _text(raw.value.get(self._source))
        elif laid_out is not None and "reply" in laid_out.metadata:
            text = laid_out.metadata["reply"]
        else:
            return problem or _NONE
        return GivenReply(number, raw.value, self._conversation(number, raw.value, laid_out), text)

    def _conversation(self, number: int, row: Row, laid_out: Conversation | None) -> Conversation:
        """The conversation as the layout reads it, with answers and group of the row's own columns if it has none."""
        made = laid_out or _stand_in(number, row)
        group = _first(row, _GROUP)
        changes: dict[str, Any] = {"id": str(row.get("id") or number)}
        if group is not None:
            changes["group_id"] = str(group)
        if not (made.references or made.wanted):
            changes["references"] = tuple(_answers(row, [name for name in _ANSWERS if not is_read(name, self._taken)]))
        return made.model_copy(update=changes)


def _source(rows: Sequence[Row], columns: Sequence[str], asked: str) -> str | None:
    """The column of the replies; None if they stand where the layout has them. Raises DataError if there is none."""
    if asked and asked not in columns:
        raise DataError(f"no column {asked} for the replies: {_name_one(columns)}")
    texts = (name for name in REPLY_COLUMNS if any(_is_text(row.get(name)) for row in rows))
    return asked or next(texts, None)


def _is_text(value: Any) -> bool:
    """Whether a cell is a reply; a mapping or list is of a layout that has the reply inside."""
    return value is not None and not isinstance(value, dict | list)


def _name_one(columns: Sequence[str]) -> str:
    return f"name one of {', '.join(columns)} by --reply"


def _layout(rows: Sequence[Row]) -> Layout | None:
    """The layout that the columns show, if any. Its set and label mean nothing to a judge, and may be human labels."""
    sample = [{name: value for name, value in row.items() if value is not None} for row in rows[:_SAMPLED]]
    try:
        layout = layout_of(None, sample)
    except DataError:
        return None
    return replace(layout, columns=layout.columns.model_copy(update={"set": None, "label": None}))


def _stand_in(number: int, row: Row) -> Conversation:
    """A conversation of a row without a layout; where it has no prompt either, one that no judge reads."""
    prompt = _text(_first(row, _PROMPT)).strip() or "(the file has no prompt)"
    return Conversation(id=str(number), group_id=str(number), messages=(Message(role="user", content=prompt),))


def _answers(row: Row, names: Sequence[str]) -> Iterator[str]:
    given = _first(row, names)
    for answer in given if isinstance(given, list) else [given]:
        if answer is not None and str(answer).strip():
            yield str(answer)


def _first(row: Row, names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _text(value: Any) -> str:
    return "" if value is None else str(value)
