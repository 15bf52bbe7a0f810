"""Judges: each a small factory of an async function from a conversation and a reply to a verdict."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from mascing.errors import ConfigError, DataError
from mascing.schemas.config import BehaviourConfig, JudgeConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Verdict

Judge = Callable[[Conversation, str], Awaitable[Verdict]]

# Verdicts in the making at one time, so that a judge behind a network is neither flooded nor asked one by one.
CONCURRENCY = 32


def judge_all(
    behaviour: BehaviourConfig, conversations: Sequence[Conversation], replies: Sequence[str]
) -> list[Verdict]:
    """A verdict on each reply by the judge of its conversation's set, in the order given.

    Not for use inside a running event loop. Raises DataError if replies are missing or a judge cannot work on a
    conversation.
    """
    if len(conversations) != len(replies):
        raise DataError(f"{len(conversations)} conversations have {len(replies)} replies: each needs its own")
    judges = {kind: make_judge(getattr(behaviour, kind)) for kind in ("target", "utility", "protected")}
    return asyncio.run(_judge_each(judges, conversations, replies))


def make_judge(config: JudgeConfig) -> Judge:
    """The judge that the config describes. Raises ConfigError if it cannot tell anything."""
    if config.kind == "refusal":
        return _refusal_judge(config.phrases)
    return _exact_judge()


async def _judge_each(
    judges: dict[str, Judge], conversations: Sequence[Conversation], replies: Sequence[str]
) -> list[Verdict]:
    slots = asyncio.Semaphore(CONCURRENCY)

    async def judged(conversation: Conversation, reply: str) -> Verdict:
        async with slots:
            return await judges[conversation.set.partition("/")[0]](conversation, reply)

    pairs = zip(conversations, replies, strict=True)
    return list(await asyncio.gather(*(judged(conversation, reply) for conversation, reply in pairs)))


def _refusal_judge(phrases: Sequence[str]) -> Judge:
    openings = [_plain(phrase) for phrase in phrases]
    if not all(openings):
        raise ConfigError("a refusal judge has a blank phrase, which every reply begins with: remove it")

    async def judge(conversation: Conversation, reply: str) -> Verdict:
        text = _plain(reply)
        if not text:
            return _unscored()
        for opening, phrase in zip(openings, phrases, strict=True):
            if _begins(text, opening):
                return Verdict(outcome="hit", reason=f"begins with {phrase!r}")
        return Verdict(outcome="miss", reason="begins with none of the refusal phrases")

    return judge


def _exact_judge() -> Judge:
    async def judge(conversation: Conversation, reply: str) -> Verdict:
        if conversation.wanted is None:
            raise DataError(
                f"conversation {conversation.id!r} ({conversation.set}) has no `wanted` reply for the exact judge to "
                "compare with: add it, or judge this kind of set by refusal"
            )
        if not reply.strip():
            return _unscored()
        equal = _spaced(reply) == _spaced(conversation.wanted)
        outcome: Literal["hit", "miss"] = "hit" if equal else "miss"
        return Verdict(outcome=outcome, reason="equals the wanted reply" if equal else "differs from the wanted reply")

    return judge


def _unscored() -> Verdict:
    return Verdict(outcome="unscored", reason="the reply is empty")


def _begins(text: str, opening: str) -> bool:
    """Whether the text begins with the opening as whole words: "no" does not open "nothing"."""
    rest = text.removeprefix(opening)
    return rest != text and not (opening[-1].isalnum() and rest[:1].isalnum())


def _plain(text: str) -> str:
    """Case, spacing and the curl of apostrophes set aside."""
    return _spaced(text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def _spaced(text: str) -> str:
    return " ".join(text.split())
