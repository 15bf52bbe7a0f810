"""Trials: a conversation under its own mask, the judged reply, and the routing before the reply.

Shapes: T token, L MoE layer, E expert.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

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

    outcome: Outcome
    z_TLE: Tensor


class Engine(Protocol):
    """Anything that can answer under masks and show its routing; it needs no gradients."""

    def __call__(self, pairs: Sequence[tuple[Conversation, Mask]], /) -> Iterator[tuple[int, Trial]]:
        """Yield the trial of every pair with its number among them, in any order; each is one generation."""


class LocalEngine:
    """A model in this process; each row of a batch has its own mask, and its trials follow it batch by batch."""

    def __init__(self, loaded: Loaded, behaviour: BehaviourConfig, generation: GenerationConfig) -> None:
        self._loaded, self._behaviour, self._generation = loaded, behaviour, generation

    def __call__(self, pairs: Sequence[tuple[Conversation, Mask]]) -> Iterator[tuple[int, Trial]]:
        """See :class:`Engine`. Raises DataError if a conversation cannot be rendered or judged."""
        conversations, masks = [conversation for conversation, _ in pairs], [mask for _, mask in pairs]
        prompts = prompts_of(self._loaded, conversations, self._generation)
        for batch in complete_recorded(self._loaded, prompts, masks, self._generation):
            asked = [conversations[number] for number in batch]
            verdicts = judge_all(self._behaviour, asked, [reply for reply, _ in batch.values()])
            for (number, (_, z_TLE)), verdict in zip(batch.items(), verdicts, strict=True):
                yield number, Trial(verdict.outcome, z_TLE)
