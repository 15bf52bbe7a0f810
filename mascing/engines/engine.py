"""The interface of an engine: conversations and masks in, replies out, streamed as they are done."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from mascing.conversations.reply import Reply
from mascing.masks.mask import Mask
from mascing.models.batching import Told, untold
from mascing.routers.spec import RouterSpec
from mascing.schemas.config import GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.trace_layout import EVERYTHING, Chosen
from mascing.traces.trace_set import SampleTrace


class Turn(NamedTuple):
    """A conversation that is to be replied to, and the mask that steers the reply; None leaves the model as it is."""

    conversation: Conversation
    mask: Mask | None = None


@dataclass(frozen=True)
class Usage:
    """What an answer took: tokens, US dollars if the prices are known, and seconds of waiting for it."""

    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    seconds: float


class Answer(NamedTuple):
    """A reply, and what it took where the engine knows that of each reply."""

    reply: Reply
    usage: Usage | None = None


class Engine(Protocol):
    """Replies to conversations, each under its own mask."""

    def replies(
        self, asked: Sequence[Turn], generation: GenerationConfig, told: Told = untold
    ) -> Iterator[tuple[int, Answer]]:
        """Yield each turn's position among ``asked`` and its answer, as they are done: in any order, each once.

        ``told`` hears of real tokens and of padding. Raises DataError if a conversation cannot be rendered, and
        MaskError if the engine cannot steer or a mask does not fit its model.
        """
        ...


class ModelEngine(Engine, Protocol):
    """An engine that runs the model itself, so that it steers replies and records routing."""

    @property
    def spec(self) -> RouterSpec:
        """The routers of the model."""
        ...

    def traces(
        self,
        conversations: Sequence[Conversation],
        batch_tokens: int,
        replies: bool = False,
        chosen: Chosen = EVERYTHING,
        told: Told = untold,
    ) -> list[SampleTrace]:
        """The routing of the conversations, as :func:`mascing.traces.batch_recording.harvest` records it."""
        ...
