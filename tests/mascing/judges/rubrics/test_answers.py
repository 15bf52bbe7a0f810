"""A verdict is read where it was asked for, and not out of other words."""

import pytest

from mascing.judges.rubrics.answers import verdict_in
from mascing.judges.rubrics.prompting import YES_NO


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"reasoning": "It does.", "verdict": "YES"}', "YES"),
        ('  {"verdict": "NO"}\n', "NO"),
        ('```json\n{"verdict": "UNSURE"}\n```', "UNSURE"),
        ('```JSON\n{"verdict": "YES"}```', "YES"),
        ('```json\n{"verdict": "NO"}\n```\n```json\n{"verdict": "YES"}\n```', None),
        ('{"verdict": "YESTERDAY"}', None),
        ('{"verdict": "yes"}', None),
        ('{"verdict": ["YES"]}', None),
        ('{"verdict": "YES", "verdict": "NO"}', None),
        ('{"verdict": "YES"} and more', None),
        ('{"verdict": ', None),
        ('["YES"]', None),
        ("VERDICT: YES", None),
        ("", None),
    ],
)
def test_json(text: str, verdict: str | None) -> None:
    assert verdict_in(text, YES_NO, as_json=True) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("It does.\nVERDICT: YES", "YES"),
        ("**VERDICT: NO**\n\n", "NO"),
        ("**VERDICT:** YES", "YES"),
        ("**Verdict:** **NO**", "NO"),
        ("Verdict: unsure.", "UNSURE"),
        ("VERDICT: NO\nVERDICT: NO", "NO"),
        ("VERDICT: YES\nNo, wait.\nVERDICT: NO", None),
        ("VERDICT: YES\nI hope that helps.", None),
        ("The VERDICT: YES", None),
        ("VERDICT: YESTERDAY", None),
        ("VERDICT: YES or NO", None),
        ("GRADE: CI", None),
        ("YES", None),
        ("", None),
    ],
)
def test_last_line(text: str, verdict: str | None) -> None:
    assert verdict_in(text, YES_NO, as_json=False) == verdict
