"""Judge many replies at once, each by the judge of its conversation's set."""

import asyncio
from collections.abc import Sequence

from mascing.conversations.reply import Reply
from mascing.errors import DataError, MascingError
from mascing.judges.judge import Judge
from mascing.judges.table import make_judge
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import JudgeConfig
from mascing.schemas.verdict import Verdict

# Verdicts awaited at the same time: enough to keep a judge behind a network busy, few enough not to flood it.
CONCURRENCY = 32


def judge_all(
    behaviour: BehaviourConfig, conversations: Sequence[Conversation], replies: Sequence[Reply]
) -> list[Verdict]:
    """Judge each reply by the judge of its conversation's set, in order; the judge reads the text and no thought.

    A turn that ended within its thought is unscored, and so is a reply that was cut off before its verdict was final.
    Do not call it inside a running event loop. Raises DataError if replies are missing or a judge cannot judge a
    conversation.
    """
    if len(conversations) != len(replies):
        raise DataError(f"{len(conversations)} conversations have {len(replies)} replies: each needs its own")
    # Sets with equal judges share one, which may hold a model.
    configs = {name: behaviour.judge_of(name) for name in sorted({row.set for row in conversations})}
    made = {config.model_dump_json(): make_judge(config) for config in configs.values()}
    judges = {name: made[config.model_dump_json()] for name, config in configs.items()}
    return asyncio.run(_judge_each(judges, conversations, replies))


def judge_by(config: JudgeConfig, conversations: Sequence[Conversation], replies: Sequence[Reply]) -> list[Verdict]:
    """Judge each reply by one judge, in order; otherwise like ``judge_all``."""
    judge = make_judge(config)
    return asyncio.run(_judge_each({row.set: judge for row in conversations}, conversations, replies))


async def _judge_each(
    judges: dict[str, Judge], conversations: Sequence[Conversation], replies: Sequence[Reply]
) -> list[Verdict]:
    slots = asyncio.Semaphore(CONCURRENCY)

    async def judged(conversation: Conversation, reply: Reply) -> Verdict:
        if reply.in_thought:
            return _of_a_mere_thought(reply)
        async with slots:
            try:
                verdict = await judges[conversation.set](conversation, reply.text)
            except MascingError:
                raise
            except Exception as error:  # noqa: BLE001 - a reply on which a user's judge fails must not end the stage
                reason = f"the judge failed with {type(error).__name__}: {error}"
                return Verdict(outcome="unscored", reason=reason, failed=True)
        if not isinstance(verdict, Verdict):
            raise DataError(f"the judge of {conversation.set} returned {verdict!r}: a judge must return a Verdict")
        return _of_a_cut_off_reply(reply) if reply.cut_off and not verdict.final else verdict

    pairs = zip(conversations, replies, strict=True)
    return list(await asyncio.gather(*(judged(conversation, reply) for conversation, reply in pairs)))


def _of_a_mere_thought(reply: Reply) -> Verdict:
    reason = (
        f"its thought was cut off after {reply.tokens} tokens: raise generation.max_new_tokens"
        if reply.cut_off
        else "ended within its thought" + (f", after {reply.tokens} tokens" if reply.tokens else "")
    )
    return Verdict(outcome="unscored", reason=reason)


def _of_a_cut_off_reply(reply: Reply) -> Verdict:
    return Verdict(
        outcome="unscored",
        reason=f"cut off after {reply.tokens} tokens, before it could be judged: raise generation.max_new_tokens",
    )
