"""Trials: a conversation under its own mask, the judged reply, and the routing before the reply.

Shapes: B batch, T token, L MoE layer, E expert.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mascing.conversations.chat import Prompt
from mascing.engines.generation import complete_recorded, prompts_of
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.models.loading import Loaded
from mascing.schemas.config import BehaviourConfig, GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.verdict import Outcome


@dataclass(frozen=True)
class Trial:
    """The result of one generation.

    ``z_TLE`` are the float16 router logits of the prompt's tokens from the final user turn on. They are recorded under
    the mask, but before the mask is added to them.
    """

    conversation: Conversation
    mask: Mask
    outcome: Outcome
    z_TLE: Tensor


class Engine(Protocol):
    """Anything that can answer under masks and show its routing; it needs no gradients."""

    def __call__(self, pairs: Sequence[tuple[Conversation, Mask]], /) -> list[Trial]:
        """Return one trial per pair, in order; each is one generation."""


class LocalEngine:
    """A model in this process; each row of a batch has its own mask."""

    def __init__(self, loaded: Loaded, behaviour: BehaviourConfig, generation: GenerationConfig) -> None:
        self._loaded, self._behaviour, self._generation = loaded, behaviour, generation
        self._prompts: dict[str, Prompt] = {}

    def __call__(self, pairs: Sequence[tuple[Conversation, Mask]]) -> list[Trial]:
        """See :class:`Engine`. Raises DataError if a conversation cannot be rendered or judged."""
        conversations = [conversation for conversation, _ in pairs]
        prompts = self._rendered(conversations)
        completions = complete_recorded(self._loaded, prompts, [mask for _, mask in pairs], self._generation)
        verdicts = judge_all(self._behaviour, conversations, [reply for reply, _ in completions])
        return [
            Trial(conversation, mask, verdict.outcome, z_TLE)
            for (conversation, mask), verdict, (_, z_TLE) in zip(pairs, verdicts, completions, strict=True)
        ]

    def _rendered(self, conversations: Sequence[Conversation]) -> list[Prompt]:
        """Return the prompts of conversations; each is rendered only once."""
        new = {conversation.id: conversation for conversation in conversations if conversation.id not in self._prompts}
        rendered = prompts_of(self._loaded, list(new.values()), self._generation)
        self._prompts.update(zip(new, rendered, strict=True))
        return [self._prompts[conversation.id] for conversation in conversations]
