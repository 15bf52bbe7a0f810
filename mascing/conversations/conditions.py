"""Changed conditions in which a mask must also work: paraphrases, system prompts, sampling, longer conversations."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mascing.schemas.config import GenerationConfig, RobustnessConfig
from mascing.schemas.conversation import Conversation, Message

_Exchange = tuple[Message, Message]
_Place = tuple[str, int]
"""The set of an exchange, and its number among those of the set."""


@dataclass(frozen=True)
class Condition:
    """The test conversations under one condition, and how replies to them are generated.

    Conversations keep their ids and groups, so the replies of two models under one condition are paired. If the data
    do not allow the condition, ``left_out`` says why and there are no conversations.
    """

    name: str
    conversations: tuple[Conversation, ...]
    generation: GenerationConfig
    left_out: str | None = None


def conditions(
    config: RobustnessConfig, conversations: Iterable[Conversation], generation: GenerationConfig
) -> list[Condition]:
    """Apply every condition of ``config`` to a bounded sample of ``conversations``; deterministic.

    ``conversations`` are iterated over more than once, so that they may stay where they are stored.
    """
    sampled = sample(conversations, config.conversations)
    applied = [_paraphrased(sampled, generation)] if config.paraphrase else []
    for number, text in enumerate(config.system_prompts, start=1):
        name = "system prompt" if len(config.system_prompts) == 1 else f"system prompt {number}"
        prompted = tuple(_with_system_prompt(conversation, text) for conversation in sampled)
        applied.append(Condition(name, prompted, generation))
    for temperature in config.temperatures:
        warmer = generation.model_copy(update={"temperature": temperature})
        applied.append(Condition(f"temperature {temperature:g}", tuple(sampled), warmer))
    if config.earlier_exchanges:
        applied.append(_longer(sampled, conversations, config.earlier_exchanges, generation))
    return applied


def sample(conversations: Iterable[Conversation], most: int) -> list[Conversation]:
    """Take whole groups of each set, up to ``most`` conversations per set; the conversations keep their order.

    A stable hash decides which groups are taken, and each set gives at least one. ``conversations`` are iterated over
    twice.
    """
    sizes_by_set: dict[str, dict[str, int]] = {}
    for conversation in conversations:
        sizes = sizes_by_set.setdefault(conversation.set, {})
        sizes[conversation.group_id] = sizes.get(conversation.group_id, 0) + 1
    chosen: set[tuple[str, str]] = set()
    for name, sizes in sizes_by_set.items():
        taken = 0
        for group in sorted(sizes, key=_hash):
            if taken and taken + sizes[group] > most:
                break
            chosen.add((name, group))
            taken += sizes[group]
    return [conversation for conversation in conversations if (conversation.set, conversation.group_id) in chosen]


def _paraphrased(sampled: Sequence[Conversation], generation: GenerationConfig) -> Condition:
    """The conversations that have a paraphrase, with the paraphrase as their final turn."""
    paraphrased = [
        _with_messages(conversation, (*conversation.messages[:-1], Message(role="user", content=text)))
        for conversation in sampled
        if (text := conversation.paraphrase) is not None
    ]
    missing = {conversation.set for conversation in sampled} - {conversation.set for conversation in paraphrased}
    reason = (
        f"no conversation of {' or '.join(sorted(missing))} has a paraphrase: add `paraphrase` to rows of every set"
        if missing
        else None
    )
    return Condition("paraphrase", () if missing else tuple(paraphrased), generation, reason)


def _with_system_prompt(conversation: Conversation, text: str) -> Conversation:
    """Put the text in front of the system turn's own; a conversation without a system turn gets one."""
    first, *rest = conversation.messages
    if first.role == "system":
        messages = (Message(role="system", content=f"{text}\n{first.content}"), *rest)
    else:
        messages = (Message(role="system", content=text), first, *rest)
    return _with_messages(conversation, messages)


def _longer(
    sampled: Sequence[Conversation], conversations: Iterable[Conversation], exchanges: int, generation: GenerationConfig
) -> Condition:
    """Put ``exchanges`` exchanges in front of each conversation, from other groups of its set."""
    groups: dict[str, list[str]] = defaultdict(list)
    for source, _, _ in _numbered(conversations):
        groups[source.set].append(source.group_id)
    chosen: list[list[_Place]] = []
    for conversation in sampled:
        name = conversation.set
        others = [number for number, group in enumerate(groups[name]) if group != conversation.group_id]
        if not others:
            return Condition(
                f"{exchanges} exchanges longer",
                (),
                generation,
                f"{name} has no exchange of another group to put before its conversations: give rows "
                "earlier turns or a `wanted` reply",
            )
        start = int(_hash(conversation.id), 16)
        chosen.append([(name, others[(start + step) % len(others)]) for step in range(exchanges)])
    needed = {place for places in chosen for place in places}
    pairs = {place: pair for _, place, pair in _numbered(conversations) if place in needed}
    lengthened = tuple(
        _preceded(conversation, [message for place in places for message in pairs[place]])
        for conversation, places in zip(sampled, chosen, strict=True)
    )
    return Condition(f"{exchanges} exchanges longer", lengthened, generation)


def _preceded(conversation: Conversation, earlier: Sequence[Message]) -> Conversation:
    """The conversation with turns in front, behind its system turn if it has one."""
    own = conversation.messages
    n_system = 1 if own[0].role == "system" else 0
    return _with_messages(conversation, (*own[:n_system], *earlier, *own[n_system:]))


def _numbered(conversations: Iterable[Conversation]) -> Iterator[tuple[Conversation, _Place, _Exchange]]:
    """Every exchange with its conversation and its place."""
    found: Counter[str] = Counter()
    for source in conversations:
        for pair in _exchanges(source):
            yield source, (source.set, found[source.set]), pair
            found[source.set] += 1


def _exchanges(conversation: Conversation) -> Iterator[_Exchange]:
    """The earlier user turns with their replies; if there are none, the final turn with the wanted reply."""
    messages = conversation.messages
    earlier = [pair for pair in pairwise(messages) if [turn.role for turn in pair] == ["user", "assistant"]]
    if earlier:
        yield from earlier
    elif conversation.wanted and conversation.wanted.strip():
        yield messages[-1], Message(role="assistant", content=conversation.wanted)


def _with_messages(conversation: Conversation, messages: tuple[Message, ...]) -> Conversation:
    return conversation.model_copy(update={"messages": messages})


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
