"""Layouts whose rows say too much for columns alone: options of a question, several questions in a row."""

from collections.abc import Mapping
from typing import Any

from mascing.conversations.intake.raw import Row
from mascing.conversations.intake.turns import are_turns, parsed, turns_of

_LETTERS = "ABCDEFGHIJ"
_CHOICES = ("choices", "options", "answer_options")
_ANSWERS = ("answerKey", "answer_key", "answer")


def with_options(row: Row) -> list[Row]:
    """Add ``options``, one "A) text" per line, and the letter and text of the right one as ``references``."""
    labels, texts = _options(row)
    if not texts:
        return [row]
    right = _right(_answer(row)[1], labels, texts)
    rest = {name: value for name, value in row.items() if name not in (*_CHOICES, *_ANSWERS)}
    options = "\n".join(f"{label}) {text}" for label, text in zip(labels, texts, strict=True))
    return [{**rest, "options": options, **({"references": right} if right else {})}]


def wrong_answer(row: Row) -> str | None:
    """A complaint if the answer that a row of `with_options` gives is none of its options."""
    (labels, texts), (name, answer) = _options(row), _answer(row)
    if not texts or not name or _right(answer, labels, texts):
        return None
    return (
        f"{name} {str(answer)[:40]!r} is none of the options {', '.join(labels)}"
        " (without right answers: `columns: {references: null}`)"
    )


def mctest(row: Row) -> list[Row]:
    """The four questions of a story; a row is id, properties, story, and per question its text and four options.

    Right answers are in a file of their own (`.ans`): one letter per question, which may follow as further cells.
    """
    cells = row.get("cells") or list(row.values())
    story_id, properties, story = cells[:3] if len(cells) >= 8 else (None, None, "")
    letters = _letters_at_end(cells)
    rows = []
    for number, start in enumerate(range(3, len(cells) - len(letters) - 4, 5), start=1):
        kind, _, question = cells[start].partition(": ")
        texts = cells[start + 1 : start + 5]
        right = _right(letters[number - 1], list(_LETTERS[:4]), texts) if letters else []
        rows.append(
            {
                "id": f"{story_id}-{number}",
                "group_id": story_id,
                "properties": properties,
                "kind": kind,
                "story": story.replace("\\newline", "\n"),
                "question": question or kind,
                "options": "\n".join(f"{label}) {text}" for label, text in zip(_LETTERS, texts, strict=False)),
                **({"references": right} if right else {}),
            }
        )
    return rows or [row]


def gsm8k(row: Row) -> list[Row]:
    """Add ``number``: the answer of a GSM8K row after the last ####, without the commas of thousands."""
    _, marked, number = str(row.get("answer", "")).rpartition("####")
    return [{**row, "number": number.strip().replace(",", "")} if marked else row]


def with_facts(row: Row) -> list[Row]:
    """Add ``facts``: a line with each fact of an MQuAKE row that is given anew."""
    edits = [edit for edit in row.get("requested_rewrite") or () if isinstance(edit, Mapping)]
    facts = [f"{edit.get('question')} {(edit.get('target_new') or {}).get('str')}." for edit in edits]
    return [{**row, "facts": "\n".join(facts)} if facts else row]


def writing_prompt(row: Row) -> list[Row]:
    """The request that a reply of an erotica-analysis row wrote: what follows ``Prompt:`` in its last turn."""
    turns, _ = turns_of(row.get("conversations"))
    last = turns[-1].get("content") if are_turns(turns) else None
    _, marked, request = str(last or "").partition("Prompt:")
    return [{"request": request.strip(' \n"')} if marked else row]


def _letters_at_end(cells: list[str]) -> list[str]:
    """The right answers of a story whose line is joined with that of the `.ans` file; none if it is not."""
    questions, rest = divmod(len(cells) - 3, 6)
    letters = cells[-questions:] if questions > 0 and rest == 0 else []
    return letters if all(letter in ("A", "B", "C", "D") for letter in letters) else []


def _answer(row: Row) -> tuple[str, Any]:
    """The column that holds the answer, and the answer; ("", None) if no column does."""
    return next(((name, row[name]) for name in _ANSWERS if row.get(name) is not None), ("", None))


def _options(row: Row) -> tuple[list[str], list[str]]:
    return _labels_and_texts(parsed(next((row[name] for name in _CHOICES if row.get(name) is not None), None)))


def _labels_and_texts(choices: Any) -> tuple[list[str], list[str]]:
    """The options of {"label": […], "text": […]}, of [{"label", "text"}, …], of {"A": …} or of a list of texts."""
    if isinstance(choices, Mapping) and isinstance(choices.get("text"), list):
        texts = choices["text"]
        labels = choices.get("label") or list(_LETTERS[: len(texts)])
    elif isinstance(choices, Mapping):
        labels, texts = list(choices), list(choices.values())
    elif isinstance(choices, list) and all(isinstance(choice, Mapping) for choice in choices):
        labels, texts = [choice.get("label") for choice in choices], [choice.get("text") for choice in choices]
    else:
        texts = choices if isinstance(choices, list) else []
        labels = list(_LETTERS[: len(texts)])
    if len(labels) != len(texts):
        return [], []
    return [str(label) for label in labels], [str(text) for text in texts]


def _right(answer: Any, labels: list[str], texts: list[str]) -> list[str]:
    """Letter and text of the answer, which is a letter, a place from 0, or the text itself.

    A whole number is a place, also where an option is that number.
    """
    text = str(answer).strip()
    if isinstance(answer, int) and not isinstance(answer, bool) and text not in labels and 0 <= answer < len(texts):
        place = answer
    elif text in labels:
        place = labels.index(text)
    elif text in texts:
        place = texts.index(text)
    elif text.isdigit() and int(text) < len(texts):
        place = int(text)
    else:
        return []
    return [labels[place], texts[place]]
