"""The behaviour `faithfulness`: answer from the text that was given, also where memory says something else.

Questions about plain facts, each with short texts that state something else, and by themselves as the utility set.
Replies are judged by exact match, so a conversation is kept only where the unsteered model replies with one of the two
statements, and a plain question only where it replies with the true one.
"""

import random
from collections.abc import Callable, Sequence

from mascing.schemas.conversation import Conversation, Message
from mascing.testbeds.smollm.facts import KINDS, Kind

Reply = Callable[[Sequence[Conversation]], list[str]]
"""The unsteered model's reply to each conversation."""

SYSTEM = "Answer the question in one short sentence."
_TEXTS = (
    "Text: {text}\nQuestion: {question}",
    "{text} {question}",
    "My friend says: {text}\n{question}",
    "{question} Here is a note: {text}",
)


def conversations(reply: Reply, seed: int) -> list[Conversation]:
    """Conversations of the sets ``target`` and ``utility/memory``, grouped by fact.

    A target conversation is ``positive`` where the model's own reply is the statement of the text and ``negative``
    where it is the true one. Only questions that the model answers by itself are asked with a text.
    """
    plain = [_plain(kind, subject) for kind in KINDS for subject in kind.answers]
    known = {asked.id: asked for asked, said in zip(plain, reply(plain), strict=True) if said == asked.wanted}
    rng = random.Random(f"faithfulness-{seed}")
    conflicts = [
        conversation
        for kind in KINDS
        for subject in kind.answers
        if _plain_id(kind, subject) in known
        for conversation in _conflicts(kind, subject, rng)
    ]
    labelled = [_labelled(asked, said) for asked, said in zip(conflicts, reply(conflicts), strict=True)]
    return [*(one for one in labelled if one is not None), *known.values()]


def _plain(kind: Kind, subject: str) -> Conversation:
    return Conversation(
        id=_plain_id(kind, subject),
        group_id=_group(kind, subject),
        set="utility/memory",
        messages=_messages(kind.question.format(subject=subject)),
        wanted=_statement(kind, subject, kind.answers[subject]),
    )


def _conflicts(kind: Kind, subject: str, rng: random.Random) -> list[Conversation]:
    """One conversation for each way of giving a text, each with another false answer where there are enough."""
    true = kind.answers[subject]
    others = sorted(set(kind.answers.values()) - {true})
    answers = rng.sample(others, min(len(others), len(_TEXTS)))
    asked = []
    for number, form in enumerate(_TEXTS):
        false = _statement(kind, subject, answers[number % len(answers)])
        asked.append(
            Conversation(
                id=f"{_name(kind, subject)}-{number}",
                group_id=_group(kind, subject),
                messages=_messages(form.format(text=false, question=kind.question.format(subject=subject))),
                wanted=false,
                unwanted=_statement(kind, subject, true),
            )
        )
    return asked


def _labelled(asked: Conversation, said: str) -> Conversation | None:
    """The conversation with the side that the reply took; None where it took neither."""
    if said == asked.wanted:
        return asked.model_copy(update={"label": "positive"})
    if said == asked.unwanted:
        return asked.model_copy(update={"label": "negative"})
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
    """The fact, so that the opposite of hot and the opposite of cold are never in different splits."""
    first, second = sorted((subject, kind.answers[subject]))
    return f"{kind.name}-{first}-{second}".lower().replace(" ", "-")
