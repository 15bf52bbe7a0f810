"""The engine that asks an OpenAI-compatible endpoint; it cannot steer."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, as_completed

from mascing.conversations.reply import Reply
from mascing.conversations.thoughts import Said, said_in
from mascing.engines.engine import Answer, Turn
from mascing.engines.openai.answer import ChatAnswer
from mascing.engines.openai.endpoint import Endpoint
from mascing.errors import MaskError
from mascing.models.batching import Told, untold
from mascing.schemas.config import GenerationConfig
from mascing.schemas.conversation import Conversation

_CUT_OFF = "length"


class EndpointEngine:
    """Replies of the model behind an endpoint, each as it comes."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def replies(
        self, asked: Sequence[Turn], generation: GenerationConfig, told: Told = untold
    ) -> Iterator[tuple[int, Answer]]:
        """Yield positions and answers in the order in which they arrive; ``generation.batch_size`` has no meaning here.

        A sampled reply is named by its conversation's id. Raises MaskError before anything is asked if a turn has a
        mask, and the errors of :meth:`Endpoint.chat` as soon as one turn meets it.
        """
        if any(turn.mask is not None for turn in asked):
            raise MaskError(
                "an endpoint cannot be steered: its routers are out of reach; reply by the engine `transformers`, or "
                "ask the endpoint without a mask"
            )
        futures = {self._ask(turn.conversation, generation): number for number, turn in enumerate(asked)}
        try:
            for future in as_completed(futures):
                answer = future.result()
                told(0 if answer.stored else answer.usage.prompt_tokens + answer.usage.completion_tokens, 0)
                yield futures[future], Answer(_reply(answer), answer.usage)
        finally:
            for future in futures:
                future.cancel()

    def _ask(self, conversation: Conversation, generation: GenerationConfig) -> Future[ChatAnswer]:
        messages = [{"role": turn.role, "content": turn.content} for turn in conversation.messages]
        return self._endpoint.ask(
            messages,
            max_tokens=generation.max_new_tokens,
            temperature=generation.temperature,
            draw=conversation.id,
        )


def _reply(answer: ChatAnswer) -> Reply:
    """The thought is the server's own field, or what the marks of known models enclose at the beginning of the text."""
    said = said_in(answer.text) if answer.thought is None else Said(answer.thought, answer.text, bool(answer.text))
    return Reply(
        said.text or answer.refusal or "",
        said.thought,
        cut_off=answer.finish_reason == _CUT_OFF,
        tokens=answer.usage.completion_tokens,
        in_thought=not said.closed and not answer.refusal,
    )
