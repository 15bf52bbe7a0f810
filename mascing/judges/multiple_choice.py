"""The choice judge: a reply must choose an accepted option of a multiple-choice question."""

from mascing.judges.comparing import accepted_answers, core
from mascing.judges.contains import occurs
from mascing.judges.judge import Judge, scored, unscored
from mascing.judges.options import label_of, read_option
from mascing.judges.plain_text import plain
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ChoiceJudge
from mascing.schemas.verdict import Verdict


def choice_judge(config: ChoiceJudge) -> Judge:
    """A hit is a reply that chooses an accepted option, by its letter or number or, if accepted too, by its text.

    A reply that names several options and chooses none is unscored: it is not guessed. The judge raises DataError for
    a conversation without an accepted answer.
    """

    async def judge(conversation: Conversation, reply: str) -> Verdict:
        answers = accepted_answers(config.kind, conversation)
        if not core(reply):
            return unscored()
        labels, texts = _labels_and_texts(answers)
        chosen = read_option(reply, digits=any(label.isdigit() for label in labels)) if labels else None
        if chosen is not None and chosen.label is None:
            return unscored("names several options and chooses none", final=False)
        if chosen is not None:
            return scored(chosen.label in labels, f"chooses {chosen.label}", chosen.final)
        if any(occurs(text, plain(reply)) for text in texts):
            return scored(True, "names the text of an accepted option", final=False)
        if texts and not labels:
            return scored(False, "names the text of no accepted option", final=False)
        return unscored("names no option", final=False)

    return judge


def _labels_and_texts(answers: tuple[str, ...]) -> tuple[set[str], list[str]]:
    """The accepted options by letter or number, and by text. "B) Oat" is both."""
    labels, texts = set(), []
    for answer in answers:
        label = label_of(answer)
        if label is None:
            chosen = read_option(answer, digits=False) or read_option(answer, digits=True)
            label = chosen.label if chosen is not None and chosen.final else None
            texts.append(core(answer))
        if label is not None:
            labels.add(label)
    return labels, texts
