"""The engine that runs the model itself by transformers, in this process; it steers each row by its own mask."""

from collections.abc import Iterator, Sequence

from mascing.engines.engine import Answer, Turn
from mascing.engines.generation import completions, prompts_of
from mascing.models.batching import Told, untold
from mascing.models.loading import Loaded
from mascing.routers.spec import RouterSpec, inspect_routers
from mascing.schemas.config import GenerationConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.trace_layout import EVERYTHING, Chosen
from mascing.traces.batch_recording import harvest
from mascing.traces.trace_set import SampleTrace


class TransformersEngine:
    """Replies of a loaded model, in batches of neighbouring length."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded

    def replies(
        self, asked: Sequence[Turn], generation: GenerationConfig, told: Told = untold
    ) -> Iterator[tuple[int, Answer]]:
        """Yield positions and answers, batch by batch, the longest conversations first.

        The conversations alone determine the batches. The model is steered until the last answer is taken.
        """
        prompts = prompts_of(self._loaded, [turn.conversation for turn in asked], generation)
        masks = [turn.mask for turn in asked]
        for number, reply in completions(self._loaded, prompts, masks, generation, told):
            yield number, Answer(reply)

    @property
    def spec(self) -> RouterSpec:
        """The routers of the model."""
        return inspect_routers(self._loaded.model)

    def traces(
        self,
        conversations: Sequence[Conversation],
        batch_tokens: int,
        replies: bool = False,
        chosen: Chosen = EVERYTHING,
        told: Told = untold,
    ) -> list[SampleTrace]:
        """The routing of the conversations, recorded in batches of at most ``batch_tokens`` padded tokens."""
        return harvest(self._loaded, conversations, batch_tokens, replies, chosen, told)
