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
    r"|guess|vote for)|\b(?:it|that)(?:'s| is| must be| has to be| should be| would be)(?: \w+ly)?"
    r"|\b(?:think|believe|say|guess) (?:that )?(?:it's|it is)?"
    r"|(?:我)?(?:选|選)(?:择|擇)?|therefore|thus|hence|so)"
)
_RIGHT = r"(?:correct|right|best|accurate|likely|true|answer)"
# A letter that follows another word than these is a name: "Vitamin C", "Plan B".
_BEFORE_MENTION = (
    r"(?:^|[.!?,;:(\[\"'/&\u2013\u2014-]\s*|\b(?:am|be|is|are|it's|that's|say|pick|choose|think|with|for|to|than|and|or|but|so"
    r"|either|both|option|choice|answer|letter|probably|definitely|clearly|likely|actually|only|just|rather|maybe)\s+)"
)
_MENTION = (
    r"(?P<label>(?<=[(\[])[A-J](?=[)\]])"
    r"|(?<![\w'.])(?:[B-HJ]|A(?!\s+(?!or\b|and\b|nor\b)\w))(?![\w'+#]))"
)
_NOT = (
    r"(?:\b(?:not|cannot|never|neither|nor|rul(?:e|es|ed|ing) out|exclud(?:e|es|ed|ing)|eliminat(?:e|es|ed|ing)"
    r"|reject(?:s|ed|ing)?|discard(?:s|ed|ing)?|instead of|rather than|except(?: for)?|anything but|without)|n't)\b"
)
_WORDS_BETWEEN = (
    r"(?:[ \t]+(?:think|believe|say|that|it|it's|is|be|the|correct|right|best|answer|option|choice|letter|choose|pick"
    r"|select|go|with|for|likely|possibly|either|both|number))*"
)
_WRONG = (
    r"(?:(?:(?:is|are|was|were|looks|seems|must be|would be|has to be|can be)\s+"
    r"(?:(?:\w+ly|also|both|all|just)\s+)*"
    r"(?:not(?! only| just| merely)|never|wrong"
    r"|incorrect|false|out|unlikely|impossible|ruled out|excluded|eliminated|inaccurate|a distractor)"
    r"|(?:isn't|aren't|wasn't|can't|cannot|couldn't|won't|doesn't|does not|can not|could not|wouldn't|would not))\b)"
)
_CORRECTS = re.compile(
    r"\b(?:no wait|wait|actually|on second thou?ghts?|scratch that|correction|let me (?:correct|reconsider|rethink)"
    r"|i mean|i meant|changed my mind|hold on)\b",
    re.IGNORECASE,
)
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
    return _chosen(_DENIED[digits].sub("none", undressed(reply).replace("$", "")), digits)


def _chosen(text: str, digits: bool) -> Chosen | None:
    """The option that a text without denied options chooses; a later correction makes it choose none."""
    for pattern in _PATTERNS[digits]:
        labels = {label for match in pattern.finditer(text) for label in _listed(match, digits)}
        if labels:
            surely = pattern is not _PATTERNS[digits][-1]
            chosen = Chosen(labels.pop(), surely) if len(labels) == 1 else Chosen(None, final=False)
            return Chosen(None, final=False) if _corrected(text, chosen, digits) else chosen
    return None


def _corrected(text: str, chosen: Chosen, digits: bool) -> bool:
    """Whether the text says "wait" or the like and then chooses another option."""
    *_, last = [0, *(match.end() for match in _CORRECTS.finditer(text))]
    after = _chosen(text[last:], digits) if last else None
    return after is not None and after.label is not None and after.label != chosen.label


def _listed(match: re.Match[str], digits: bool) -> set[str]:
    """The option that a pattern found, and those listed after it to the end of the sentence: "A, B"."""
    rest = _LIST[digits].match(match.string, match.end("label"))
    others = _LABEL_IN_LIST[digits].findall(rest.group()) if rest else []
    return {match.group("label").upper(), *(label.upper() for label in others)}


def _patterns(digits: bool) -> tuple[re.Pattern[str], ...]:
    """The forms in which a reply chooses, from the surest on; the last is the mere mention of an option."""
    # A word of one letter is an option only where no word follows it: "A dog", "I think".
    article = r"(?!\s+(?!because\b|since\b|as\b|and\b|is\b|was\b)[\w'])"
    # Alone, "I" is the pronoun; an answer that is told as such may be the ninth option.
    bare = r"[1-9]" if digits else rf"(?:[B-HJ]|A(?:{article})|(?<=[(\[])I(?=[)\]]))"
    told = bare if digits else rf"(?:[B-HJ]|[AI](?:{article}))"
    label, told = (
        rf"[(\[\"']?\s*(?<![A-Za-z0-9'])(?P<label>{letter})(?![A-Za-z0-9'+#])(?!\.[A-Za-z0-9])"
        for letter in (bare, told)
    )
    right = rf"\s*[)\]\"'.:,]*\s*(?:is|was|would be|must be)\s+(?:the\s+)?(?:most\s+)?{_RIGHT}"
    chosen = (
        rf"\A\W*{_NAMED}\W*{label}\W*\Z",
        rf"\bfinal answer\W{{0,3}}\s*{_IS}?\W{{0,4}}{_NAMED}{told}",
        rf"(?:(?<![A-Za-z]){_ANSWER}\W{{0,3}}\s*{_IS}|\banswer\s*\n)\W{{0,4}}{_NAMED}{told}",
        rf"\b{_NAMED}{label}{right}",
        rf"{_CHOOSING}\W{{0,3}}\s*{_NAMED}{label}",
        rf"\A\W*{_NAMED}{label}\W*\n",
        rf"(?:^|[.;,]\s+)[(\[]?{_NAMED}{label}(?=\s*[)(\].:,\u2013\u2014-]|\s*$|\s+(?=because\b|since\b|as\b))",
        rf"^\W*(?:option|choice)\s+{label}(?!\s+(?:is|isn't|was|would|can|cannot|can't|seems)\b)",
    )
    mention = r"(?P<label>(?<=[(\[])[1-9](?=[)\]]))" if digits else rf"{_BEFORE_MENTION}{_MENTION}"
    return (*(re.compile(form, re.IGNORECASE | re.MULTILINE) for form in chosen), re.compile(mention, re.MULTILINE))


def _denied(digits: bool) -> re.Pattern[str]:
    """What a reply says about options that are not the answer: "not B", "A or C", "B is wrong"."""
    letter = (
        r"[1-9]" if digits else r"(?:[B-HJ]|A(?!\s+(?!or\b|and\b|nor\b|is\b|are\b|because\b|since\b|as\b|but\b)[\w']))"
    )
    label = rf"[(\[\"']?(?<![\w']){letter}(?![\w'+#])[)\]\"']*"
    unchosen = rf"{_NOT}{_WORDS_BETWEEN}[ \t]+{label}(?:(?:,\s*{label})*,?\s*\b(?:or|nor)\s+{_NAMED}{label})*"
    several = rf"\b{_NAMED}{label}(?:(?:,\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+){_NAMED}{label})+\s+(?!is|was){_WRONG}"
    wrong = rf"\b{_NAMED}{label}\s+{_WRONG}"
    return re.compile(f"{unchosen}|{several}|{wrong}", re.IGNORECASE)


def _list(digits: bool) -> re.Pattern[str]:
    """Further options up to the end of the sentence."""
    letter = r"[1-9]" if digits else "[A-J]"
    label = rf"[(\[\"']?(?<!\w){letter}(?![\w'+#])[)\]\"']*"
    return re.compile(rf"[)\]\"']*(?:\s*(?:,|/|&|\bor\b|\band\b)\s*(?:or\s+|and\s+)?{label})+(?=\s*(?:$|[.;!?\n]))")


_DENIED = {digits: _denied(digits) for digits in (False, True)}
_LIST = {digits: _list(digits) for digits in (False, True)}
_LABEL_IN_LIST = {False: re.compile(r"\b[A-J]\b"), True: re.compile(r"\b[1-9]\b")}
_PATTERNS = {digits: _patterns(digits) for digits in (False, True)}
