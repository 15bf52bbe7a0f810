"""The contains judge: an accepted answer must occur in the reply."""

import re

from mascing.judges.comparing import accepted_answers, core, literal
from mascing.judges.judge import Judge, scored, unscored
from mascing.judges.plain_text import ends_word, plain
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ContainsJudge
from mascing.schemas.verdict import Verdict

# What makes a number or a name another one: "0.5" and "-5" for 5, ".net" for net; "5.5" for 5, "C++" and "C#" for C.
_GOES_BEFORE = re.compile(r"(?:\d[.,]|(?<![\w)])-)\d$|(?:(?:^|\s)\.)\w$|\*\w$")
_GOES_ON = re.compile(r"\d[.,]\d|\w[+#]+(?!\w)|\*\*")


def contains_judge(config: ContainsJudge) -> Judge:
    """A hit is a reply in which an accepted answer occurs as whole words, also where the reply denies it.

    Scripts without spaces between words are searched without regard to words. The judge raises DataError for a
    conversation without an accepted answer.
    """

    async def judge(conversation: Conversation, reply: str) -> Verdict:
        answers = accepted_answers(config.kind, conversation)
        if not core(reply):
            return unscored()
        for answer in answers:
            if occurs(core(answer), reply):
                return scored(True, f"contains {answer!r}")
        return scored(False, "contains no accepted answer", final=False)

    return judge


def occurs(answer: str, reply: str) -> bool:
    """Whether the core of an answer occurs in the reply as whole words and numbers: 5 is not in 5.5, nor C in C++."""
    text = literal(reply) if answer.endswith("*") else plain(reply)
    start = text.find(answer)
    while start >= 0:
        if _stands_alone(text, start, start + len(answer)):
            return True
        start = text.find(answer, start + 1)
    return False


def _stands_alone(text: str, start: int, end: int) -> bool:
    whole = ends_word(text, start) and ends_word(text, end)
    return whole and not (_GOES_BEFORE.search(text[max(0, start - 2) : start + 1]) or _GOES_ON.match(text, end - 1))
