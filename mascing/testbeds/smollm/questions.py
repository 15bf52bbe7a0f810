"""The behaviour `faithfulness`: answer from the given text, even if memory contradicts it.

The target set asks about simple facts with short texts that contradict them. The utility set asks the same questions
without a text. An exact match judges replies. So a target conversation stays only if the unsteered model replies with
one of the two statements, and a plain question only if it replies with the true one.
"""

import random
from collections.abc import Callable, Sequence

from mascing.schemas.conversation import Conversation, Message
from mascing.testbeds.smollm.facts import KINDS, Kind

Reply = Callable[[Sequence[Conversation]], list[str]]
"""Returns the unsteered model's reply to each conversation."""

SYSTEM = "Answer the question in one short sentence."
_TEXTS = (
    "Text: {text}\nQuestion: {question}",
    "{text} {question}",
    "My friend says: {text}\n{question}",
    "{question} Here is a note: {text}",
)


def conversations(reply: Reply, seed: int) -> list[Conversation]:
    """Return conversations of the sets ``target`` and ``utility/memory``, grouped by fact.

    A target conversation is ``positive`` if the model's own reply is the statement of the text, and ``negative`` if it
    is the true statement. Only questions that the model answers correctly without a text appear with one.
    """
    plain = [_plain(kind, subject) for kind in KINDS for subject in kind.answers]
    known = {
        question.id: question for question, answer in zip(plain, reply(plain), strict=True) if answer == question.wanted
    }
    rng = random.Random(f"faithfulness-{seed}")
    conflicts = [
        conversation
        for kind in KINDS
        for subject in kind.answers
        if _plain_id(kind, subject) in known
        for conversation in _conflicts(kind, subject, rng)
    ]
    labelled = [_labelled(conflict, answer) for conflict, answer in zip(conflicts, reply(conflicts), strict=True)]
    return [*(conflict for conflict in labelled if conflict is not None), *known.values()]


def _plain(kind: Kind, subject: str) -> Conversation:
    return Conversation(
        id=_plain_id(kind, subject),
        group_id=_group(kind, subject),
        set="utility/memory",
        messages=_messages(kind.question.format(subject=subject)),
        wanted=_statement(kind, subject, kind.answers[subject]),
    )


def _conflicts(kind: Kind, subject: str, rng: random.Random) -> list[Conversation]:
    """Make one conversation per way of giving a text, each with a different false answer if there are enough."""
    true = kind.answers[subject]
    others = sorted(set(kind.answers.values()) - {true})
    answers = rng.sample(others, min(len(others), len(_TEXTS)))
    conflicts = []
    for number, form in enumerate(_TEXTS):
        false = _statement(kind, subject, answers[number % len(answers)])
        conflicts.append(
            Conversation(
                id=f"{_name(kind, subject)}-{number}",
                group_id=_group(kind, subject),
                messages=_messages(form.format(text=false, question=kind.question.format(subject=subject))),
                wanted=false,
                unwanted=_statement(kind, subject, true),
            )
        )
    return conflicts


def _labelled(conversation: Conversation, reply: str) -> Conversation | None:
    """Label the conversation by the statement that the reply repeats; return None if it repeats neither."""
    if reply == conversation.wanted:
        return conversation.model_copy(update={"label": "positive"})
    if reply == conversation.unwanted:
        return conversation.model_copy(update={"label": "negative"})
    return None


def _messages(question: str) -> tuple[Message, ...]:
    return Message(role="system", content=SYSTEM), Message(role="user", content=question)


def _statement(kind: Kind, subject: str, answer: str) -> str:
    text = kind.statement.format(subject=subject, answer=answer)
    return text[0].upper() + text[1:]


def _plain_id(kind: Kind, subject: str) -> str:
    return f"{_name(kind, subject)}-plain"


def _name(kind: Kind, subject: str) -> str:
    return f"{kind.name}-{subject.lower().replace(' ', '-')}"


def _group(kind: Kind, subject: str) -> str:
    """Name the fact's group; the opposites of hot and cold share one, so they are never in different splits."""
    first, second = sorted((subject, kind.answers[subject]))
    return f"{kind.name}-{first}-{second}".lower().replace(" ", "-")
