"""The exact judge: a reply must be an accepted answer."""

from mascing.judges.comparing import accepted_answers, core
from mascing.judges.judge import Judge, scored, unscored
from mascing.judges.options import label_of, read_option
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ExactJudge
from mascing.schemas.verdict import Verdict


def exact_judge(config: ExactJudge) -> Judge:
    """A hit is a reply that is an accepted answer, apart from case, white space, markup and final punctuation.

    Where the answer is the letter of an option, the reply is read as the choice judge reads it. The judge raises
    DataError for a conversation without an accepted answer.
    """

    async def judge(conversation: Conversation, reply: str) -> Verdict:
        answers = accepted_answers(config.kind, conversation)
        said = core(reply)
        if not said:
            return unscored()
        if said in map(core, answers):
            return scored(True, "equals an accepted answer", final=False)
        letters = {label for answer in answers if (label := label_of(answer)) and label.isalpha()}
        chosen = read_option(reply, digits=False) if letters else None
        if chosen is not None and chosen.label in letters:
            return scored(True, f"chooses {chosen.label}", final=chosen.final)
        begun = any(core(answer).startswith(said) for answer in answers)
        return scored(False, "differs from the accepted answers", final=not begun)

    return judge
