"""The marks that set turns apart in the prompts of public model families, with which a reply could close its own turn.

A server reads such a mark as one token wherever it stands in a message. Which model judges is not known where only its
name is, so marks are known by their shapes. All of them are broken up, in whatever text.
"""

import re
from collections.abc import Iterable

# Each begins with one sign that stands outside the lookahead, so that marks which share a sign are found too.
_MARK = re.compile(
    # Bars, plain or of full width, on both sides or one: <|im_end|>, <\uff5cUser\uff5c>, <|turn>, <turn|>.
    "<(?=[|\uff5c][^<>|\uff5c\\s]{1,40}[|\uff5c]?>|[^<>|\uff5c\\s]{1,40}[|\uff5c]>"
    # Names of several words, or with a colon: <end_of_turn>, <SPECIAL_12>, </longcat_s>, <seed:bos>.
    "|/?(?=[^<>\\s]*[_:\u2581])[^<>\\s\"'=/]{3,40}>"
    # Names of one word: <s>, <bos>, <sop>, <role>, <unused12>. Any other may be a tag of HTML.
    "|/?(?i:s|[be]o[sdt]|[se]o[pmt]|eo[ah]|pad|unk|cls|sep|mask|role|unused\\d+)>"
    # Llama 2 and its guard.
    "|</?SYS>>|(?:BEGIN|END) [A-Z ]{3,40}>)"
    # Capitals in brackets: [INST], [/INST], [gMASK].
    "|\\[(?=/?[a-z]?[A-Z_]{3,20}\\])"
    # MiniMax: ]~!b[, ]~b], [e~[, ]<]image[>[.
    "|[\\[\\]](?=[a-z!]{0,4}~[a-z!]{0,4}[\\[\\]]|<\\][^\\[\\]\\n]{1,30}\\[>\\[)"
)


def defused(text: str, marks: Iterable[str] = ()) -> str:
    """The text with a blank in every mark: ``<|eot|>`` is ``< |eot|>``. ``marks`` are those of the very model."""
    for mark in marks:
        text = text.replace(mark, f"{mark[0]} {mark[1:]}")
    return _MARK.sub(r"\g<0> ", text)
