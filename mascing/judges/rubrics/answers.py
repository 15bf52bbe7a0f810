"""Read the verdict of a language model: the field of a JSON object, or a last line `VERDICT: YES`, and nothing else."""

import json
import re
from collections.abc import Sequence
from typing import Any

_FENCED = re.compile(r"```(?:json)?\s*\n(?P<body>.*)```", re.DOTALL | re.IGNORECASE)
_LINE = re.compile(r"[*_`]*VERDICT[*_`]*\s*:[*_`\s]*(?P<verdict>[A-Z]+)[*_`]*\.?[*_`]*", re.IGNORECASE)


def verdict_in(text: str, verdicts: Sequence[str], as_json: bool) -> str | None:
    """One of the ``verdicts``, or None if the answer does not give exactly one of them in the form that was asked."""
    said = _in_json(text.strip()) if as_json else _in_last_line(text.strip())
    return said if said in verdicts else None


def _in_json(text: str) -> str | None:
    fenced = _FENCED.fullmatch(text)
    try:
        answer = json.loads(fenced["body"] if fenced else text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError):
        return None
    verdict = answer.get("verdict") if isinstance(answer, dict) else None
    return verdict if isinstance(verdict, str) else None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _in_last_line(text: str) -> str | None:
    """The verdict of the last line; None if an earlier line gives another."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = [_LINE.fullmatch(line) for line in lines]
    said = {match["verdict"].upper() for match in found if match}
    return said.pop() if len(said) == 1 and found[-1] else None
