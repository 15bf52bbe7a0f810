"""The contains judge: an accepted answer must occur in the reply."""

from mascing.judges.comparing import accepted_answers, core
from mascing.judges.judge import Judge, scored, unscored
from mascing.judges.plain_text import ends_word, plain
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ContainsJudge
from mascing.schemas.verdict import Verdict


def contains_judge(config: ContainsJudge) -> Judge:
    """A hit is a reply in which an accepted answer occurs as whole words, also where the reply denies it.

    Scripts without spaces between words are searched without regard to words. The judge raises DataError for a
    conversation without an accepted answer.
    """

    async def judge(conversation: Conversation, reply: str) -> Verdict:
        answers = accepted_answers(config.kind, conversation)
        text = plain(reply)
        if not core(reply):
            return unscored()
        for answer in answers:
            if occurs(core(answer), text):
                return scored(True, f"contains {answer!r}")
        return scored(False, "contains no accepted answer", final=False)

    return judge


def occurs(answer: str, text: str) -> bool:
    """Whether the answer occurs in the text as whole words; both are plain text."""
    start = text.find(answer)
    while start >= 0:
        if ends_word(text, start) and ends_word(text, start + len(answer)):
            return True
        start = text.find(answer, start + 1)
    return False
