"""Judge many replies at once, each by the judge of its conversation's set."""

import asyncio
from collections.abc import Mapping, Sequence

from mascing.conversations.reply import Reply
from mascing.errors import DataError
from mascing.judges.judge import BatchJudge, Judge, verdicts_of
from mascing.judges.table import make_judge
from mascing.schemas.config import BehaviourConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.settings.judge_settings import JudgeConfig
from mascing.schemas.verdict import Verdict
from mascing.storage.object_storage import Storage


def judge_all(
    behaviour: BehaviourConfig,
    conversations: Sequence[Conversation],
    replies: Sequence[Reply],
    storage: Storage | None = None,
) -> list[Verdict]:
    """Judge each reply by the judge of its conversation's set, in order; the judge reads the text and no thought.

    A turn that ended within its thought is unscored, and so is a reply that was cut off before its verdict was final.
    With a ``storage`` what a judge is paid for is kept there, and nothing is paid twice. Do not call it inside a
    running event loop. Raises DataError if replies are missing or a judge cannot judge a conversation, and the errors
    of a judge's model or endpoint.
    """
    if len(conversations) != len(replies):
        raise DataError(f"{len(conversations)} conversations have {len(replies)} replies: each needs its own")
    # Sets with equal judges share one, which may hold a model.
    configs = {name: behaviour.judge_of(name) for name in sorted({row.set for row in conversations})}
    made = {config.model_dump_json(): make_judge(config) for config in configs.values()}
    judges = {name: made[config.model_dump_json()] for name, config in configs.items()}
    return asyncio.run(_judge_each(judges, conversations, replies, storage))


def judge_by(
    config: JudgeConfig,
    conversations: Sequence[Conversation],
    replies: Sequence[Reply],
    storage: Storage | None = None,
) -> list[Verdict]:
    """Judge each reply by one judge, whatever its conversation's set, in order; otherwise like ``judge_all``."""
    judge = make_judge(config)
    return asyncio.run(_judge_each({row.set: judge for row in conversations}, conversations, replies, storage))


async def _judge_each(
    judges: Mapping[str, Judge | BatchJudge],
    conversations: Sequence[Conversation],
    replies: Sequence[Reply],
    storage: Storage | None,
) -> list[Verdict]:
    verdicts = {place: _of_a_mere_thought(reply) for place, reply in enumerate(replies) if reply.in_thought}

    async def hear(judge: Judge | BatchJudge, places: Sequence[int]) -> None:
        pairs = [(conversations[place], replies[place].text) for place in places]
        async for number, verdict in verdicts_of(judge, pairs, storage):
            reply = replies[places[number]]
            undecided = reply.cut_off and not verdict.final
            verdicts[places[number]] = _of_a_cut_off_reply(reply, verdict) if undecided else verdict

    spoken: dict[str, list[int]] = {}
    for place, conversation in enumerate(conversations):
        if place not in verdicts:
            spoken.setdefault(conversation.set, []).append(place)
    await asyncio.gather(*(hear(judges[name], places) for name, places in spoken.items()))
    return [verdicts[place] for place in range(len(conversations))]


def _of_a_mere_thought(reply: Reply) -> Verdict:
    reason = (
        f"its thought was cut off after {reply.tokens} tokens: raise generation.max_new_tokens"
        if reply.cut_off
        else "ended within its thought" + (f", after {reply.tokens} tokens" if reply.tokens else "")
    )
    return Verdict(outcome="unscored", reason=reason)


def _of_a_cut_off_reply(reply: Reply, verdict: Verdict) -> Verdict:
    reason = f"cut off after {reply.tokens} tokens, before it could be judged: raise generation.max_new_tokens"
    return verdict.model_copy(update={"outcome": "unscored", "reason": reason})
