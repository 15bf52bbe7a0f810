"""Replies that say nothing: empty, in a loop, or not made of words."""

import re
import unicodedata

from mascing.judges.plain_text import plain, unspaced

# A reply loops if its end repeats one unit at least so often, over at least so many characters and this share of it.
_REPEATS, _LOOP_CHARACTERS, _LOOP_SHARE = 4, 40, 0.5
# Of this many words on, a reply with fewer different ones than this share is a loop with small changes.
_WORDS, _DIFFERENT = 30, 0.15
# A reply is no text if letters and digits are a smaller share of its characters, or more of its words are unreadable.
_SYMBOLS, _TEXT_SHARE, _UNREADABLE_SHARE, _SCRIPTS = 20, 0.4, 0.5, 4
_LONGEST_WORD = 40
_ECHO = 0.5
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5,}")
# Pairs of letters that next to no word has, and runs of neighbouring keys.
_UNHEARD = re.compile(r"q[b-hj-tv-z]|(?<!i)j[bcdfghklmnpqrstvwxz]|asdf|sdfg|dfgh|fghj|ghjk|uiop|zxcv")
# The marks of blanks and line breaks in the tokens of byte-level and SentencePiece vocabularies.
_TOKEN_MARKS = re.compile("[\u0120\u010a\u2581]")
_LATIN_WORD = re.compile(r"[a-z]+")


def broken(reply: str) -> str | None:
    """What is wrong with a reply that says nothing, or None.

    Fluent nonsense is not recognised: it takes a reader to see it.
    """
    text = plain(reply)
    words = re.findall(r"\w+", text)
    if not words:
        return "the reply has no words"
    if _loops(text, words):
        return "the reply repeats itself"
    if _unreadable(text, words) or _of_raw_tokens(reply, words):
        return "the reply is not made of words"
    return None


def echo(reply: str, request: str) -> str | None:
    """What is wrong with a reply that gives back half of the request or more and nothing else, or None."""
    said, asked = plain(reply).strip(" .!?"), plain(request).strip(" .!?")
    return "the reply repeats the request" if said in asked and len(said) >= _ECHO * len(asked) else None


def _loops(text: str, words: list[str]) -> bool:
    if len(words) >= _WORDS and len(set(words)) < _DIFFERENT * len(words):
        return True
    for length in range(1, len(text) // _REPEATS + 1):
        repeated = _repeated_end(text, length)
        if repeated >= max(_LOOP_CHARACTERS, length * _REPEATS, _LOOP_SHARE * len(text)):
            return True
    return False


def _repeated_end(text: str, length: int) -> int:
    """How many characters at the end of the text have the same character ``length`` before them, plus ``length``."""
    position = len(text) - 1
    while position >= length and text[position] == text[position - length]:
        position -= 1
    return len(text) - 1 - position + length


def _unreadable(text: str, words: list[str]) -> bool:
    visible = [character for character in text if not character.isspace()]
    if "\ufffd" in text and text.count("\ufffd") > 0.05 * len(visible):
        return True
    # Letters, marks on letters (Thai, Hindi) and digits.
    textual = sum(unicodedata.category(character)[0] in "LMN" for character in visible)
    if len(visible) >= _SYMBOLS and textual < _TEXT_SHARE * len(visible):
        return True
    # A few abbreviations are an answer; a text of them is none.
    shortest = 2 if len(words) >= 4 else 5
    strange = sum(_strange(word, shortest) for word in words)
    return strange > _UNREADABLE_SHARE * len(words) or _mixed(words)


def _of_raw_tokens(reply: str, words: list[str]) -> bool:
    marks = len(_TOKEN_MARKS.findall(reply))
    return marks >= 2 and 2 * marks >= len(words)


def _strange(word: str, shortest: int) -> bool:
    """Whether a word cannot be read: endless, letters that never meet, or ``shortest`` consonants and no vowel."""
    if any(unspaced(character) for character in word):
        return False
    if len(word) > _LONGEST_WORD or _CONSONANTS.search(word) or _UNHEARD.search(word):
        return True
    return bool(_LATIN_WORD.fullmatch(word)) and len(word) >= shortest and not re.search("[aeiouy]", word)


def _mixed(words: list[str]) -> bool:
    """Whether the words are of more scripts than a text has."""
    letters = [character for word in words for character in word if character.isalpha()]
    scripts = [unicodedata.name(letter, "?").partition(" ")[0] for letter in letters]
    japanese = {"HIRAGANA", "KATAKANA"}
    kinds = {"CJK" if script in japanese else script for script in scripts}
    return len([kind for kind in kinds if scripts.count(kind) > 0.03 * len(scripts)]) >= _SCRIPTS
