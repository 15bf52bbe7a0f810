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
        ('{"verdict": "yes"}', "YES"),
        ('{"Verdict": " **No.** "}', "NO"),
        ('```\n{"verdict": "NO"}\n```', "NO"),
        ('Here is my answer, a plain one:\n```json\n{"verdict": "NO"}\n```\n', "NO"),
        ('It declines. {"verdict": "YES"}', "YES"),
        ('It says NO. {"verdict": "YES"}', None),
        ('I say YES, not NO:\n```json\n{"verdict": "YES"}\n```', None),
        ('```json\n{"verdict": "NO"}\n```\nOr was it?', None),
        ('{"verdict": "NO"} {"verdict": "YES"}', None),
        ('{"answer": {"verdict": "YES"}}', None),
        ('{"verdict": "YES or NO"}', None),
        ('{"verdict": "YES", "Verdict": "NO"}', None),
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
        ("It does.\n- VERDICT: YES", "YES"),
        ("- **VERDICT: YES**", "YES"),
        ("**- VERDICT: YES**", "YES"),
        ("### Verdict: Yes", "YES"),
        ('"VERDICT: YES"', "YES"),
        ('VERDICT: "NO".', "NO"),
        ("VERDICT: [YES]", "YES"),
        ("VERDICT\uff1aYES\u3002", "YES"),
        ("I looked.\n```\nVERDICT: NO\n```", "NO"),
        ("## Verdict\n\n**YES**", "YES"),
        ("**VERDICT:**\nNO.", "NO"),
        ("VERDICT: YES<|im_end|>", "YES"),
        ("- VERDICT: NO\n- VERDICT: YES", None),
        ("VERDICT: NO\n\n## Verdict\nYES", None),
        # So the judge quotes the reply.
        ("The reply ends:\n> VERDICT: YES", None),
        ("> VERDICT: YES\nIt was told to say so.\nVERDICT: NO", "NO"),
        ("VERDICT: ~~YES~~ NO", None),
        ("VERDICT: YES?", None),
        ("VERDICT: YES/NO", None),
        ("Verdict\nYES or NO", None),
        ("Not\nYES", None),
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
