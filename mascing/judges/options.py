"""Read which option of a multiple-choice question a reply chooses, in the forms that models use."""

import re
from dataclasses import dataclass

from mascing.judges.plain_text import undressed

_ANSWER = (
    r"(?:(?:the |my |our )?(?:(?:final|correct|right|best|most likely|chosen) )*(?:answer|option|choice|letter)"
    r"|solution|antwort|r[ée]ponse|respuesta|risposta|resposta|antwoord|ответ|答案|正解|答え|회답|정답|답|选择|選擇|选项)"
)
_IS = r"(?:is|would be|should be|must be|will be|are|ist|est|es|è|é|是|为|為|应该是|は|은|는|:|=|->|→|-)"
_NAMED = r"(?:(?:option|choice|answer|letter|alternative)\s*)?"
_CHOOSING = (
    r"(?:\b(?:i|we)(?:'d|'ll| would| will)? ?(?:choose|pick|select|chose|picked|selected|go with|say|answer|opt for"
    r"|guess|vote for)|\b(?:it|that)(?:'s| is| must be| has to be| should be| would be)"
    r"|\b(?:think|believe|say|guess) (?:that )?(?:it's|it is)?"
    r"|(?:我)?(?:选|選)(?:择|擇)?|therefore|thus|hence|so)"
)
_RIGHT = r"(?:correct|right|best|accurate|likely|true|answer)"
_MENTION = r"(?P<label>(?<=[(\[])[A-J](?=[)\]])|(?<![\w'])(?:[B-HJ]|A(?!\s+(?!or\b|and\b|nor\b)\w))(?![\w']))"
_BOXED = re.compile(r"\\boxed\s*\{+\s*(?:\\(?:text|mathrm|textbf|mathbf)\s*\{+)?\s*\(?([A-Ja-j1-9])\)?[\s).:}]")


@dataclass(frozen=True)
class Chosen:
    """The option that a reply chooses, a letter A to J or a digit, or None if it names several and chooses none.

    ``final`` is false if the reply merely names the option.
    """

    label: str | None
    final: bool = True


def label_of(text: str) -> str | None:
    """The option that an answer is, as a whole: a letter A to J or a digit 1 to 9."""
    match = re.fullmatch(r"\W*(?:(?:option|choice|answer)\W+)?([A-J]|[1-9])\W*", undressed(text), re.IGNORECASE)
    return match.group(1).upper() if match else None


def read_option(reply: str, digits: bool) -> Chosen | None:
    """The option that the reply chooses, a letter or (``digits``) a digit; None if it names none."""
    boxed = [label.upper() for label in _BOXED.findall(reply) if label.isdigit() == digits]
    if boxed:
        return Chosen(boxed[-1])
    text = undressed(reply).replace("$", "")
    for pattern in _PATTERNS[digits]:
        labels = {match.group("label").upper() for match in pattern.finditer(text)}
        if labels:
            surely = pattern is not _PATTERNS[digits][-1]
            return Chosen(labels.pop(), surely) if len(labels) == 1 else Chosen(None, final=False)
    return None


def _patterns(digits: bool) -> tuple[re.Pattern[str], ...]:
    """The forms in which a reply chooses, from the surest on; the last is the mere mention of an option."""
    # A word of one letter is an option only where no word follows it: "A dog", "I think".
    article = r"(?!\s+(?!because\b|since\b|as\b|and\b|is\b|was\b)[\w'])"
    bare = r"[1-9]" if digits else rf"(?:[B-HJ]|[AI](?:{article}))"
    label = rf"[(\[\"']?\s*(?<![A-Za-z0-9'])(?P<label>{bare})(?![A-Za-z0-9'])(?!\.[A-Za-z0-9])"
    right = rf"\s*[)\]\"'.:,]*\s*(?:is|was|would be|must be)\s+(?:the\s+)?(?:most\s+)?{_RIGHT}"
    chosen = (
        rf"\A\W*{_NAMED}\W*{label}\W*\Z",
        rf"\bfinal answer\W{{0,3}}\s*{_IS}?\W{{0,4}}{_NAMED}{label}",
        rf"(?:(?<![A-Za-z]){_ANSWER}\W{{0,3}}\s*{_IS}|\banswer\s*\n)\W{{0,4}}{_NAMED}{label}",
        rf"\b{_NAMED}{label}{right}",
        rf"{_CHOOSING}\W{{0,3}}\s*{_NAMED}{label}",
        rf"\A\W*{_NAMED}{label}\W*\n",
        rf"(?:^|[.;,]\s+)[(\[]?{_NAMED}{label}(?=\s*[)(\].:,\u2013\u2014-]|\s*$|\s+(?=because\b|since\b|as\b))",
        rf"^\W*(?:option|choice)\s+{label}(?!\s+(?:is|isn't|was|would|can|cannot|can't|seems)\b)",
    )
    mention = r"(?P<label>(?<=[(\[])[1-9](?=[)\]]))" if digits else _MENTION
    return (*(re.compile(form, re.IGNORECASE | re.MULTILINE) for form in chosen), re.compile(mention))


_PATTERNS = {digits: _patterns(digits) for digits in (False, True)}
