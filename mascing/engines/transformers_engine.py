"""The engine that runs the model itself by transformers, in this process; it steers each row by its own mask."""

from collections.abc import Iterator, Sequence

from mascing.engines.engine import Answer, Turn
from mascing.engines.generation import completions, prompts_of
from mascing.models.batching import Told, untold
from mascing.models.loading import Loaded
from mascing.schemas.config import GenerationConfig


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
