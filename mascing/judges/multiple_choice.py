"""The choice judge: a reply must choose an accepted option of a multiple-choice question."""

import re

from mascing.judges.comparing import accepted_answers, core
from mascing.judges.contains import occurs
from mascing.judges.judge import Judge, scored, unscored
from mascing.judges.options import label_of, read_option
from mascing.judges.plain_text import undressed
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import ChoiceJudge
from mascing.schemas.verdict import Verdict

_LABELLED = re.compile(r"\W*(?P<label>[A-Ja-j]|[1-9])\s*[).:\u2013\u2014-]+\s+(?P<text>\S.*)", re.DOTALL)


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
        if any(occurs(text, reply) for text in texts):
            return scored(True, "names the text of an accepted option", final=False)
        if texts and not labels:
            return scored(False, "names the text of no accepted option", final=False)
        return unscored("names no option", final=False)

    return judge


def _labels_and_texts(answers: tuple[str, ...]) -> tuple[set[str], list[str]]:
    """The accepted options by letter or number, and by text; "B) Oat" is both, a whole reply is what it chooses."""
    labels: set[str] = set()
    texts: list[str] = []
    for answer in answers:
        both = _LABELLED.fullmatch(undressed(answer))
        chosen = None if both else read_option(answer, digits=False) or read_option(answer, digits=True)
        label = both.group("label").upper() if both else label_of(answer) or (chosen.label if chosen else None)
        if label is not None:
            labels.add(label)
        if both or label is None:
            texts.append(core(both.group("text") if both else answer))
    return labels, texts
