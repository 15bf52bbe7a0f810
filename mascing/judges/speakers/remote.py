"""A judge's model behind an OpenAI-compatible endpoint."""

from collections.abc import AsyncIterator, Mapping, Sequence
from math import exp
from typing import TYPE_CHECKING, Any

from mascing.conversations.thoughts import said_in
from mascing.errors import RequestError
from mascing.judges.judge import arriving
from mascing.judges.speakers.speaker import Ask, Manner, Said
from mascing.judges.speakers.weighed import messages_of
from mascing.schemas.settings.engine_settings import OpenAIEngine
from mascing.storage.object_storage import Storage

if TYPE_CHECKING:
    from mascing.engines.openai.answer import ChatAnswer
    from mascing.engines.openai.endpoint import Endpoint

# The most likely first tokens that an endpoint tells, among which the asked words are sought.
_LIKELIEST = 20
_OF_SCHEMAS = ("response_format", "schema")
_SHOWN = 200


class RemoteSpeaker:
    """Answers by asking the endpoint, all prompts at once: it keeps pace and budget itself."""

    def __init__(self, config: OpenAIEngine) -> None:
        self._config = config

    async def say(
        self, asked: Sequence[Ask], manner: Manner, storage: Storage | None
    ) -> AsyncIterator[tuple[int, Said]]:
        """Yield the place of each prompt and its answer, as they come; one that stays without an answer says why.

        Raises BudgetError and EndpointError; what was paid until then is in the storage.
        """
        from mascing.engines.openai.endpoint import endpoint

        place = endpoint(self._config, storage)
        async for heard in arriving(_answer(place, number, ask, manner) for number, ask in enumerate(asked)):
            yield heard


async def _answer(place: "Endpoint", number: int, ask: Ask, manner: Manner) -> tuple[int, Said]:
    try:
        answer = await place.chat(
            messages_of(ask),
            max_tokens=manner.max_tokens,
            temperature=0.0,
            response_format=_format(manner.schema),
            logprobs=_LIKELIEST if manner.words else None,
        )
    except RequestError as error:
        return number, Said(failure=f"the judge gave no answer: {error}{_way_out(manner, error)}", passing=True)
    if answer.refusal and not answer.text:
        why = f"the judge's model declines to judge: {answer.refusal[:_SHOWN]}"
        return number, Said(answer.refusal, False, answer.usage.cost, answer.usage.seconds, failure=why)
    said = said_in(answer.text)
    filtered = answer.finish_reason == "content_filter"
    return number, Said(
        said.text,
        answer.finish_reason == "length" or not said.closed,
        answer.usage.cost,
        answer.usage.seconds,
        _shares(answer, manner.words),
        failure="the endpoint's content filter ended the judge's answer" if filtered else None,
    )


def _way_out(manner: Manner, error: RequestError) -> str:
    """What to do where a server knows no schemas."""
    about_schema = manner.schema is not None and any(word in str(error) for word in _OF_SCHEMAS)
    return (
        "; where the server knows no JSON schemas, set `output: line` in the judge's settings" if about_schema else ""
    )


def _format(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if schema is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": dict(schema)}}


def _shares(answer: "ChatAnswer", words: Sequence[str]) -> dict[str, float] | None:
    """The probabilities of the words among each other; None if the endpoint does not tell of any of them."""
    if not words or not answer.logprobs:
        return None
    found = dict.fromkeys(words, 0.0)
    for token, logprob in answer.logprobs[0].items():
        if token.strip() in found:
            found[token.strip()] += exp(logprob)
    total = sum(found.values())
    return {word: share / total for word, share in found.items()} if total > 0 else None
