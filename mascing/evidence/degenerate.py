"""Degenerate replies: those of a model that a mask has broken, whatever the judges make of them.

Each conversation's reply is read beside the unsteered model's reply to it. The first kind that applies counts:

- ``empty``: no letter, no number;
- ``repeating``: more than half of its character sequences occurred in it before;
- ``other_script``: many of its letters are of a script that the unsteered reply does not use;
- ``one_reply``: in a utility set, the text that far more conversations get than from the unsteered model;
- ``unrelated``: in a utility set, no closer to the unsteered reply than to replies about other things.

The last two need sets in which replies should differ and should stay as they are. Refusals of a target or protected set
may be one sentence, and a mask may turn answers into refusals there.
Shape suffixes: N conversation of a set, M unsteered reply to compare with.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mascing.schemas.result import DegenerateKind, Rate
from mascing.schemas.verdict import Outcome
from mascing.statistics import paired_difference

Row = Mapping[str, Any]
Kinds = dict[str, DegenerateKind]
"""The kind of each degenerate reply, by conversation id."""

# Characters below which a reply is too short to loop, or to be compared with others by its words.
_TEXT = 40
# Length of the sequences that are looked for again, and the share of them above which a reply repeats itself. Ordinary
# prose, code and tables stay well below. Source: the measure seq-rep-n of Welleck et al. (2020), on characters, so that
# it works without words.
_SEQUENCE = 8
_REPEATED = 0.5
# Share and least number of letters in a new script: a foreign name or a symbol is neither.
_FOREIGN = 0.25
_FOREIGN_LETTERS = 4
# How much larger a part of a set must get one text. Answers such as "yes" or "B" are common by nature.
_RISE = 0.2
# How many other replies a reply is compared with, and the share of them that its own unsteered reply must surpass.
_COMPARED = 200
_SURPASSED = 0.75
# Scripts that are written together.
_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK", "BOPOMOFO": "CJK"}
_WIDTHS = ("FULLWIDTH", "HALFWIDTH")


def degenerate_alone(rows: Sequence[Row]) -> Kinds:
    """Return the degenerate replies among ``rows`` (VERDICTS) that show by themselves: empty or repeating ones."""
    found = ((str(row["conversation_id"]), _alone(str(row["reply"]))) for row in rows)
    return {conversation_id: kind for conversation_id, kind in found if kind is not None}


def degenerate_beside(before: Sequence[Row], after: Sequence[Row]) -> Kinds:
    """Return the degenerate replies of ``after``, beside the unsteered replies ``before`` to the same conversations."""
    kinds: Kinds = {}
    for set_name, pairs in _pairs_by_set(before, after):
        kinds |= {key: "unrelated" for key in _unrelated(pairs)} if _is_utility(set_name) else {}
        kinds |= {key: "one_reply" for key in _one_reply(pairs)} if _is_utility(set_name) else {}
        kinds |= {
            str(old["conversation_id"]): "other_script" for old, new in pairs if _foreign(new["reply"], old["reply"])
        }
    return kinds | degenerate_alone(after)


def degenerate_change(before: Sequence[Row], after: Sequence[Row]) -> tuple[dict[DegenerateKind, int], Rate]:
    """Return the degenerate replies of ``after`` by kind, and how much higher their share is than in ``before``.

    The difference is paired by conversation over all sets, with its 95% interval clustered by group.
    """
    beside, alone = degenerate_beside(before, after), degenerate_alone(before)
    rows = sorted(before, key=lambda row: str(row["conversation_id"]))
    keys = [str(row["conversation_id"]) for row in rows]
    change = paired_difference(_outcomes(alone, keys), _outcomes(beside, keys), [str(row["group_id"]) for row in rows])
    return counts_of(beside), change


def counts_of(kinds: Kinds) -> dict[DegenerateKind, int]:
    """Return the number of replies of each kind, sorted by kind."""
    return dict(sorted(Counter(kinds.values()).items()))


def _outcomes(kinds: Kinds, keys: Sequence[str]) -> list[Outcome]:
    return ["hit" if key in kinds else "miss" for key in keys]


def _is_utility(set_name: str) -> bool:
    return set_name.partition("/")[0] == "utility"


def _pairs_by_set(before: Sequence[Row], after: Sequence[Row]) -> Iterator[tuple[str, list[tuple[Row, Row]]]]:
    def by_set_and_id(row: Row) -> tuple[str, str]:
        return str(row["set"]), str(row["conversation_id"])

    pairs = zip(sorted(before, key=by_set_and_id), sorted(after, key=by_set_and_id), strict=True)
    for set_name, of_set in groupby(pairs, key=lambda pair: str(pair[0]["set"])):
        yield set_name, list(of_set)


def _alone(reply: str) -> DegenerateKind | None:
    if not any(character.isalnum() for character in reply):
        return "empty"
    return "repeating" if _repeats(_plain(reply)) else None


def _plain(reply: str) -> str:
    return " ".join(reply.casefold().split())


def _repeats(text: str) -> bool:
    if len(text) < _TEXT:
        return False
    sequences = [text[start : start + _SEQUENCE] for start in range(len(text) - _SEQUENCE + 1)]
    return 1 - len(set(sequences)) / len(sequences) > _REPEATED


def _foreign(reply: str, unsteered: str) -> bool:
    known = {_script(character) for character in unsteered if character.isalpha()}
    scripts = [_script(character) for character in reply if character.isalpha()]
    if not known or not scripts:
        return False
    foreign = sum(script not in known for script in scripts)
    return foreign >= _FOREIGN_LETTERS and foreign / len(scripts) > _FOREIGN


@cache
def _script(letter: str) -> str:
    words = unicodedata.name(letter, "UNKNOWN").split()
    script = words[1] if words[0] in _WIDTHS and len(words) > 1 else words[0]
    return _ONE_SCRIPT.get(script, script)


def _one_reply(pairs: Sequence[tuple[Row, Row]]) -> list[str]:
    """The conversations that newly get the set's most common text, if that text became far more common."""
    before, after = ([_plain(str(pair[side]["reply"])) for pair in pairs] for side in (0, 1))
    text, times = Counter(after).most_common(1)[0]
    if times - before.count(text) <= _RISE * len(pairs):
        return []
    return [
        str(old["conversation_id"])
        for (old, _), was, now in zip(pairs, before, after, strict=True)
        if now == text and was != text
    ]


def _unrelated(pairs: Sequence[tuple[Row, Row]]) -> list[str]:
    """The conversations whose reply is hardly closer to its own unsteered reply than to those of other groups.

    Only those count whose unsteered reply can be told from the others in the same way.
    """
    pairs = [pair for pair in pairs if all(len(_plain(str(row["reply"]))) >= _TEXT for row in pair)]
    if len(pairs) < 2:
        return []
    before_N, after_N = _likeness([str(old["reply"]) for old, _ in pairs], [str(new["reply"]) for _, new in pairs])
    groups = np.array([str(old["group_id"]) for old, _ in pairs])
    compared_M = np.linspace(0, len(pairs) - 1, min(_COMPARED, len(pairs))).astype(int)
    elsewhere_NM = groups[:, None] != groups[compared_M][None]
    told_N = _closest_to_own(before_N, before_N, compared_M, elsewhere_NM)
    related_N = _closest_to_own(after_N, before_N, compared_M, elsewhere_NM)
    return [
        str(old["conversation_id"])
        for (old, _), told, related in zip(pairs, told_N, related_N, strict=True)
        if told and not related
    ]


def _likeness(before: Sequence[str], after: Sequence[str]) -> tuple[Any, Any]:
    """The character sequences of each reply as sparse unit rows; those that are rare in ``before`` weigh more."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    return vectorizer.fit_transform(before), vectorizer.transform(after)


def _closest_to_own(
    replies_N: Any, unsteered_N: Any, compared_M: NDArray[np.intp], elsewhere_NM: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether each reply is closer to its own unsteered reply than to most of those of other groups, [N]."""
    own_N = np.asarray(replies_N.multiply(unsteered_N).sum(1)).ravel()
    others_NM = np.where(elsewhere_NM, (replies_N @ unsteered_N[compared_M].T).toarray(), np.nan)
    others_NM[~elsewhere_NM.any(1)] = np.inf  # no other group to compare with
    closest_N: NDArray[np.bool_] = own_N > np.nanquantile(others_NM, _SURPASSED, axis=1) + 1e-9
    return closest_N
