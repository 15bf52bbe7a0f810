"""Layouts whose rows say too much for columns alone: options of a question, several questions in a row."""

from collections.abc import Mapping
from typing import Any

from mascing.conversations.intake.raw import Row
from mascing.conversations.intake.turns import parsed

_LETTERS = "ABCDEFGHIJ"


def with_options(row: Row) -> list[Row]:
    """Add ``options``, one "A) text" per line, and the letter and text of the right one as ``references``."""
    choices = parsed(row.get("choices", row.get("options")))
    labels, texts = _labels_and_texts(choices)
    if not texts:
        return [row]
    answer = next((row[name] for name in ("answerKey", "answer_key", "answer") if row.get(name) is not None), None)
    right = _right(answer, labels, texts)
    rest = {name: value for name, value in row.items() if name not in ("choices", "answerKey", "answer_key", "answer")}
    options = "\n".join(f"{label}) {text}" for label, text in zip(labels, texts, strict=True))
    return [{**rest, "options": options, **({"references": right} if right else {})}]


def mctest(row: Row) -> list[Row]:
    """The four questions of a story; a row is id, properties, story, and per question its text and four options.

    Right answers are in a file of their own (`.ans`), so there are none here.
    """
    cells = row.get("cells") or list(row.values())
    story_id, properties, story = cells[:3] if len(cells) >= 8 else (None, None, "")
    rows = []
    for number, start in enumerate(range(3, len(cells) - 4, 5), start=1):
        kind, _, question = cells[start].partition(": ")
        options = "\n".join(
            f"{label}) {text}" for label, text in zip(_LETTERS, cells[start + 1 : start + 5], strict=False)
        )
        rows.append(
            {
                "id": f"{story_id}-{number}",
                "group_id": story_id,
                "properties": properties,
                "kind": kind,
                "story": story.replace("\\newline", "\n"),
                "question": question or kind,
                "options": options,
            }
        )
    return rows or [row]


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
    """Letter and text of the answer, which is a letter, a place from 0, or the text itself."""
    text = str(answer).strip()
    if text in labels:
        place = labels.index(text)
    elif text in texts:
        place = texts.index(text)
    elif text.isdigit() and int(text) < len(texts):
        place = int(text)
    else:
        return []
    return [labels[place], texts[place]]
