"""Read the verdict of a language model: the field of a JSON object, or a last line `VERDICT: YES`, and nothing else."""

import json
import re
from collections.abc import Sequence
from typing import Any

from mascing.judges.speakers.bare_lines import bare_line, bare_lines
from mascing.validation import distinct

_FENCED = re.compile(r"(?P<before>[^`]*)```(?:json)?\s*(?P<body>\{.*\})\s*```", re.DOTALL | re.IGNORECASE)
_HEADING = re.compile(r"VERDICT\s*:?", re.IGNORECASE)
_LINE = re.compile(r"VERDICT\s*:\s*[\"'\[]*(?P<verdict>[A-Z]+)", re.IGNORECASE)


def verdict_in(text: str, verdicts: Sequence[str], as_json: bool) -> str | None:
    """One of the ``verdicts``, or None if the answer does not give exactly one of them in the form that was asked."""
    said = _in_json(text.strip(), verdicts) if as_json else _in_last_line(text)
    return said if said in verdicts else None


def _in_json(text: str, verdicts: Sequence[str]) -> str | None:
    """The verdict of the object that ends the answer; None if the words before it name another."""
    fenced = _FENCED.fullmatch(text)
    before, brace, rest = (fenced["before"], "", fenced["body"]) if fenced else text.partition("{")
    try:
        answer = json.loads(brace + rest, object_pairs_hook=_by_lower_key)
    except (ValueError, RecursionError):
        return None
    verdict = answer.get("verdict") if isinstance(answer, dict) else None
    said = bare_line(verdict).upper() if isinstance(verdict, str) else None
    return None if set(re.findall(r"\w+", before)) & (set(verdicts) - {said}) else said


def _by_lower_key(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return distinct([(key.lower(), value) for key, value in pairs])


def _in_last_line(text: str) -> str | None:
    """The verdict of the last line; None if an earlier line gives another."""
    lines = bare_lines(text)
    if len(lines) > 1 and _HEADING.fullmatch(lines[-2]):
        lines[-2:] = [f"VERDICT: {lines[-1]}"]
    found = [_LINE.fullmatch(line) for line in lines]
    said = {match["verdict"].upper() for match in found if match}
    return said.pop() if len(said) == 1 and found[-1] else None
