"""The labels of a prompt in plain words, such as `AI assistant:`, with which a reply could speak as somebody else."""

import re
from collections.abc import Iterable
from functools import cache

# In the text of a prompt: a few words that begin with a capital and end with a colon, a heading, a name in brackets,
# and a rule between parts.
_LABEL = re.compile(
    r"\b[A-Z][\w'/-]*(?:[ \t][\w'/-]+){0,3}[ \t]*:"
    r"|^[ \t]*#{1,6}[ \t]*\w[\w ]{0,60}$"
    r"|\[[A-Za-z][^\[\]{}\n]{1,60}\]|<[A-Za-z][^<>{}\n]{1,60}>"
    r"|^[ \t]*[-=*_]{3,}[ \t]*$",
    re.MULTILINE,
)


@cache
def labels_of(template: str) -> frozenset[str]:
    """The labels in the text of a prompt, whose fields stand in braces."""
    return frozenset(found[0].strip() for found in _LABEL.finditer(template))


def without_labels(text: str, labels: Iterable[str]) -> str:
    """The text with a blank in every label, whatever its case and its blanks: ``Answers:`` is ``A nswers:``."""
    patterns = sorted(map(_pattern, labels), key=len, reverse=True)
    if not patterns:
        return text
    return re.sub("|".join(patterns), _broken, text, flags=re.IGNORECASE)


def _broken(found: re.Match[str]) -> str:
    """The label with a blank after its first letter, or after its first sign if it has none."""
    place = next((place for place, sign in enumerate(found[0]) if sign.isalnum()), 0) + 1
    return f"{found[0][:place]} {found[0][place:]}"


def _pattern(label: str) -> str:
    words = r"\s+".join(map(re.escape, label.removesuffix(":").split()))
    return rf"{words}\s*[:\uff1a]" if label.endswith(":") else words
