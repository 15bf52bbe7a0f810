"""How many tokens the replies need that the token limit cut off, found by continuing a few of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from mascing.conversations.chat import Prompt
from mascing.engines.generation import complete, context_length
from mascing.models.loading import Loaded
from mascing.schemas.config import GenerationConfig

AT_MOST, FACTOR = 8, 8
"""Conversations that are continued, and the multiple of the token limit that they may take."""


@dataclass(frozen=True)
class Lengths:
    """What it took some conversations to end: ``needed`` is the token limit of each that ended within ``limit``."""

    tried: int
    needed: tuple[int, ...]
    limit: int


def tokens_needed(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    generation: GenerationConfig,
    at_most: int = AT_MOST,
    limit: int | None = None,
) -> Lengths:
    """Let the unsteered model reply to a few of the prompts, up to ``limit`` tokens or what its context leaves.

    ``prompts`` are those whose replies were cut off; the few are spread evenly over them. The default limit is eight
    times that of ``generation``.
    """
    few = prompts[:: -(-len(prompts) // at_most) or 1]
    longest = max((len(prompt.token_ids) for prompt in few), default=0)
    limit = limit if limit is not None else FACTOR * generation.max_new_tokens
    context = context_length(loaded)
    limit = min(limit, context - longest) if context else limit
    replies = complete(loaded, few, None, generation.model_copy(update={"max_new_tokens": limit}))
    # A limit of n tokens shows that a reply ended only if the end token is the n-th at most.
    needed = sorted(reply.tokens + 1 for reply in replies if not reply.cut_off)
    return Lengths(len(few), tuple(needed), limit)


def cut_off_note(cut_off: int, replies: int, generation: GenerationConfig, lengths: Lengths) -> str:
    """One sentence: how many replies were cut off, and the token limit that would have been needed."""
    told = (
        f"{cut_off} of {replies} replies were cut off at {generation.max_new_tokens} tokens before they could be judged"
    )
    if not lengths.tried:
        return f"{told}: raise generation.max_new_tokens"
    if not lengths.needed:
        return (
            f"{told}; none of {lengths.tried} that were continued ended within {lengths.limit} tokens: set "
            "generation.max_new_tokens higher, or have the model think less by model.chat_template"
        )
    most = lengths.needed[-1]
    return (
        f"{told}; of {lengths.tried} that were continued, {len(lengths.needed)} ended within {most} tokens: set "
        f"generation.max_new_tokens to {most} or more"
    )
