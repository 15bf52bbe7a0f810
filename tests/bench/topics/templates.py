"""How matching tells topics apart where requests share templates: ``python -m tests.bench.topics.templates``.

Requests fill the slots of templates with words of one of ten topics. Where the classes have *disjoint* topics (five
each), every pair is wrong. Where they have the *same* topics, the pairs should be many, and of one topic. Beside it
stands plain TF-IDF, in which a template counts with all its words.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

from mascing.conversations.matching import matched_pairs
from mascing.conversations.request_words import request_words
from mascing.errors import DataError
from mascing.schemas.config import MatchingConfig
from mascing.schemas.conversation import Conversation, Message

_LONG = (
    "You are a careful assistant of a large library. Read the request below, think about who may have written it, and "
    "reply in at most three short sentences without lists, headings or links. Request: {slot}. Now write your reply."
)
TEMPLATES = {
    "none": ("{slot}",),
    "document": ("Document: {slot} Question: {slot} Answer using only the document.",),
    "short document": ("Document: {word} {word} Question: {word}? Answer using only the document.",),
    "document of few words": ("Document: {few} Question: {few}? Answer using only the document.",),
    "long instruction": (_LONG,),
    "choice": ("{slot}? A) {word} B) {word} C) {word} D) {word} Answer with a letter only:",),
    "ten instructions": tuple(
        f"{' '.join(f'rule{number}{letter}' for letter in 'abcdefghijklmnopqrstuvwxyz')} {{slot}}"
        for number in range(10)
    ),
    "question": ("What is the {word} of the {word} in {word}?",),
}
_TOPICS, _WORDS, _FEW, _IN_SLOT = 10, 40, 4, 6
_FUNCTION = ("the", "a", "of", "to", "and", "in", "that", "is", "for", "with", "on", "as", "by", "from", "at", "it")


def conversations(kind: str, rows: int, seed: int, *, disjoint: bool) -> tuple[list[Conversation], dict[str, int]]:
    """Conversations of both classes, each of a group of its own, and the topic of each by id."""
    rng = np.random.default_rng(seed)
    made, topics = [], {}
    for row in range(rows):
        positive = row % 2 == 0
        topic = int(rng.integers(_TOPICS // 2)) * 2 + positive if disjoint else int(rng.integers(_TOPICS))
        template = TEMPLATES[kind][rng.integers(len(TEMPLATES[kind]))]
        n_words = _FEW if "{few}" in template else _WORDS
        words = [f"topic{topic}word{number}" for number in range(n_words)]
        request = _filled(template.replace("{few}", "{word}"), partial(_one_of, words, rng), rng)
        made.append(
            Conversation(
                id=str(row),
                group_id=str(row),
                label="positive" if positive else "negative",
                messages=(Message(role="user", content=request),),
            )
        )
        topics[str(row)] = topic
    return made, topics


def pairs_and_wrong(kind: str, rows: int, seed: int, *, disjoint: bool) -> tuple[int, int]:
    """How many pairs matching forms, and how many of them are of two topics."""
    made, topics = conversations(kind, rows, seed, disjoint=disjoint)
    try:
        pairs = matched_pairs(made, MatchingConfig())
    except DataError:
        return 0, 0
    return len(pairs), sum(topics[positive] != topics[negative] for positive, negative in pairs)


def _one_of(words: Sequence[str], rng: np.random.Generator) -> str:
    return str(rng.choice(words))


def _filled(template: str, word: Callable[[], str], rng: np.random.Generator) -> str:
    while "{slot}" in template:
        slot = " ".join(f"{rng.choice(_FUNCTION)} {word()}" for _ in range(_IN_SLOT))
        template = template.replace("{slot}", slot, 1)
    while "{word}" in template:
        template = template.replace("{word}", word(), 1)
    return template


def _plain(requests: Iterable[str], groups: Sequence[str]) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    del groups
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\w+|[^\w\s]", binary=True)
    return vectorizer.fit_transform(requests).tocsr()


def _print() -> None:
    print("| template | conversations | words | pairs, disjoint topics | pairs, same topics | of two topics |")
    print("|" + "---|" * 6)
    for kind in TEMPLATES:
        for rows in (60, 400, 2000):
            for name, words in (("plain", _plain), ("weighed", request_words)):
                with patch("mascing.conversations.matching.request_words", words):
                    apart, _ = pairs_and_wrong(kind, rows, 0, disjoint=True)
                    pairs, wrong = pairs_and_wrong(kind, rows, 0, disjoint=False)
                print(f"| {kind} | {rows} | {name} | {apart} | {pairs} | {wrong} |", flush=True)


if __name__ == "__main__":
    _print()
