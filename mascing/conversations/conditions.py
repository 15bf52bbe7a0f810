"""Changed conditions under which a mask must hold too: other words, another system prompt, sampling, a longer talk."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mascing.schemas.config import GenerationConfig, RobustnessConfig
from mascing.schemas.conversation import Conversation, Message


@dataclass(frozen=True)
class Condition:
    """The test conversations as they are under one condition, and how replies to them are generated.

    Conversations keep their ids and groups, so the replies of two models under one condition are paired. Where the data
    do not allow a condition, ``left_out`` says why and there are no conversations.
    """

    name: str
    conversations: tuple[Conversation, ...]
    generation: GenerationConfig
    left_out: str | None = None


def conditions(
    config: RobustnessConfig, conversations: Sequence[Conversation], generation: GenerationConfig
) -> list[Condition]:
    """Every condition of ``config`` applied to a bounded part of ``conversations``; the same for the same arguments."""
    some = sample(conversations, config.conversations)
    found = [_paraphrased(some, generation)] if config.paraphrase else []
    for number, text in enumerate(config.system_prompts, start=1):
        name = "system prompt" if len(config.system_prompts) == 1 else f"system prompt {number}"
        found.append(Condition(name, tuple(_with_system_prompt(one, text) for one in some), generation))
    for temperature in config.temperatures:
        warmer = generation.model_copy(update={"temperature": temperature})
        found.append(Condition(f"temperature {temperature:g}", tuple(some), warmer))
    if config.earlier_exchanges:
        found.append(_longer(some, conversations, config.earlier_exchanges, generation))
    return found


def sample(conversations: Sequence[Conversation], most: int) -> list[Conversation]:
    """Whole groups of each set, by a stable hash of the group, up to ``most`` conversations a set; in their order.

    At least one group of each set.
    """
    groups: dict[str, dict[str, int]] = {}
    for one in conversations:
        sizes = groups.setdefault(one.set, {})
        sizes[one.group_id] = sizes.get(one.group_id, 0) + 1
    chosen: set[tuple[str, str]] = set()
    for name, sizes in groups.items():
        taken = 0
        for group in sorted(sizes, key=_hash):
            if taken and taken + sizes[group] > most:
                break
            chosen.add((name, group))
            taken += sizes[group]
    return [one for one in conversations if (one.set, one.group_id) in chosen]


def _paraphrased(some: Sequence[Conversation], generation: GenerationConfig) -> Condition:
    """The conversations that have a paraphrase, with it as their final turn."""
    told = [
        one.model_copy(update={"messages": (*one.messages[:-1], Message(role="user", content=one.paraphrase))})
        for one in some
        if one.paraphrase is not None
    ]
    missing = {one.set for one in some} - {one.set for one in told}
    reason = (
        f"no conversation of {' or '.join(sorted(missing))} has a paraphrase: add `paraphrase` to rows of every set"
        if missing
        else None
    )
    return Condition("paraphrase", () if missing else tuple(told), generation, reason)


def _with_system_prompt(conversation: Conversation, text: str) -> Conversation:
    """The text before the system turn's own, or as a system turn where there is none."""
    first, *rest = conversation.messages
    if first.role == "system":
        messages = (Message(role="system", content=f"{text}\n{first.content}"), *rest)
    else:
        messages = (Message(role="system", content=text), first, *rest)
    return conversation.model_copy(update={"messages": messages})


def _longer(
    some: Sequence[Conversation], conversations: Sequence[Conversation], exchanges: int, generation: GenerationConfig
) -> Condition:
    """Each conversation after ``exchanges`` exchanges of others of its set that are about other goals."""
    lenders = {
        name: [(one, pair) for one in conversations if one.set == name for pair in _exchanges(one)]
        for name in {one.set for one in some}
    }
    made = []
    for one in some:
        lent = [pair for lender, pair in lenders[one.set] if lender.group_id != one.group_id]
        if not lent:
            return Condition(
                f"{exchanges} exchanges longer",
                (),
                generation,
                f"{one.set} has no exchange of another group to put before its conversations: give rows earlier turns "
                "or a `wanted` reply",
            )
        start = int(_hash(one.id), 16)
        before = [message for step in range(exchanges) for message in lent[(start + step) % len(lent)]]
        kept = 1 if one.messages[0].role == "system" else 0
        messages = (*one.messages[:kept], *before, *one.messages[kept:])
        made.append(one.model_copy(update={"messages": messages}))
    return Condition(f"{exchanges} exchanges longer", tuple(made), generation)


def _exchanges(conversation: Conversation) -> Iterator[tuple[Message, Message]]:
    """A user's turn with the reply to it: the earlier ones, or the final one with the reply that is wanted."""
    messages = conversation.messages
    earlier = [(asked, said) for asked, said in pairwise(messages) if (asked.role, said.role) == ("user", "assistant")]
    if earlier:
        yield from earlier
    elif conversation.wanted and conversation.wanted.strip():
        yield messages[-1], Message(role="assistant", content=conversation.wanted)


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
