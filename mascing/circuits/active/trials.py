"""Trials: a conversation under a mask of its own, its judged reply, and the routing that the reply followed.

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
    """What one generation showed.

    ``z_TLE`` are float16 router logits of the prompt's tokens from the final user turn on, as the routers gave them
    under the mask and before the mask was added to them.
    """

    conversation: Conversation
    mask: Mask
    outcome: Outcome
    z_TLE: Tensor


class Engine(Protocol):
    """Whatever can answer under masks and show its routing: no gradient is asked of it."""

    def __call__(self, asked: Sequence[tuple[Conversation, Mask]], /) -> list[Trial]:
        """One trial a pair, in the order given; each is one generation."""


class LocalEngine:
    """A model in this process: a batch holds many conversations, each row under its own mask."""

    def __init__(self, loaded: Loaded, behaviour: BehaviourConfig, generation: GenerationConfig) -> None:
        self._loaded, self._behaviour, self._generation = loaded, behaviour, generation
        self._prompts: dict[str, Prompt] = {}

    def __call__(self, asked: Sequence[tuple[Conversation, Mask]]) -> list[Trial]:
        """See :class:`Engine`. Raises DataError if a conversation cannot be rendered or judged."""
        conversations = [conversation for conversation, _ in asked]
        prompts = self._rendered(conversations)
        answered = complete_recorded(self._loaded, prompts, [mask for _, mask in asked], self._generation)
        verdicts = judge_all(self._behaviour, conversations, [reply for reply, _ in answered])
        return [
            Trial(conversation, mask, verdict.outcome, z_TLE)
            for (conversation, mask), verdict, (_, z_TLE) in zip(asked, verdicts, answered, strict=True)
        ]

    def _rendered(self, conversations: Sequence[Conversation]) -> list[Prompt]:
        """Prompts of conversations, each rendered once however often it is tried."""
        new = list({one.id: one for one in conversations if one.id not in self._prompts}.values())
        self._prompts.update(zip((one.id for one in new), prompts_of(self._loaded, new, self._generation), strict=True))
        return [self._prompts[one.id] for one in conversations]
