"""The words of a reply without its dressing: markup, invisible characters, role labels, kinds of apostrophe."""

import html
import re
import unicodedata

_APOSTROPHES = re.compile(
    "[\u2018\u2019\u201b\u2032\u02b9\u02bb\u02bc\u02bd\u02c8\u00b4\u055a\u05f3\ua78b\ua78c\uff07]"
)
_GRAVE_APOSTROPHE = re.compile(r"(?<=\w)`(?=\w)")
# Characters that show nothing although Unicode calls some of them letters or marks.
_BLANKS = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0f]")
_LABEL = re.compile(
    r"\A\W*(?:<\|?)?(?:assistant|ai|bot|chatbot|chatgpt|model|gpt|response|reply|answer|output|final)"
    r"(?:\|?>|\]|\W{0,3}:\W{0,3}|\W*\n)",
    re.IGNORECASE,
)
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]{0,80}>|<\|[^|<>\n]{1,40}\|>")
_LINK = re.compile(r"!?\[([^\]\n]*)\]\([^)\n]*\)")
_LINE_MARK = re.compile(r"^[ \t]*(?:(?:#{1,6}|>|[-*+\u2022\u2013\u2014])[ \t]+|>+|#{1,6}(?=\w))+", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$|^[ \t]*(?:```|~~~).*$", re.MULTILINE)
# A long run of one sign says no more than three of it, and patterns take much longer over it.
_RUN = re.compile(r"([^\w\s])\1{3,}")
_EMPHASIS = re.compile(r"\*+|~~|(?<!\w)_+|_+(?!\w)|`+")


def visible(text: str) -> str:
    """The text in Unicode's compatibility form (NFKC), with plain apostrophes and without invisible characters."""
    text = _GRAVE_APOSTROPHE.sub("'", _APOSTROPHES.sub("'", text))
    text = unicodedata.normalize("NFKC", _BLANKS.sub("", text))
    return "".join(character for character in text if character in "\n\t" or unicodedata.category(character)[0] != "C")


def undressed(text: str) -> str:
    """The visible text without Markdown, tags and a role label, with its line breaks."""
    text = _RUN.sub(r"\1\1\1", visible(html.unescape(text)))
    text = _RULE.sub("", _LINK.sub(r"\1", _TAG.sub("", text)))
    text = _EMPHASIS.sub("", _LINE_MARK.sub("", text))
    return _LABEL.sub("", text).strip()


def plain(text: str) -> str:
    """The undressed text in one line and in one case: what two texts share that say the same."""
    return spaced(undressed(text)).casefold()


def spaced(text: str) -> str:
    """The text with each run of white space replaced by one space, and stripped."""
    return " ".join(text.split())


# Scripts that put no spaces between words, or attach endings to them, so that no word boundary can be asked for.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)


def unspaced(character: str) -> bool:
    """Whether the character is of a script whose words cannot be told by spaces: Chinese, Japanese, Korean, Thai."""
    return _UNSPACED.match(character) is not None


def ends_word(text: str, end: int) -> bool:
    """Whether a word of the text ends before position ``end``; always true in an unspaced script."""
    if not 0 < end < len(text):
        return True
    before, after = text[end - 1], text[end]
    return not (before.isalnum() and after.isalnum()) or unspaced(before) or unspaced(after)
