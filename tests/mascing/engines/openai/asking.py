"""Asking a fake endpoint, as the tests do it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from mascing.engines.openai.answer import ChatAnswer
from mascing.engines.openai.endpoint import Endpoint
from mascing.schemas.settings.engine_settings import OpenAIEngine
from tests.fake_endpoint import FakeEndpoint


def config_for(fake: FakeEndpoint, **settings: Any) -> OpenAIEngine:
    return OpenAIEngine(**{"base_url": fake.url, "model": fake.model, "timeout": 5, **settings})


def all_of(endpoint: Endpoint, contents: Sequence[str], **options: Any) -> list[ChatAnswer | BaseException]:
    """The answers to all contents, asked at once, or the errors."""

    async def ask() -> list[ChatAnswer | BaseException]:
        asked = (endpoint.chat(turn(content), **{"max_tokens": 8, **options}) for content in contents)
        return await asyncio.gather(*asked, return_exceptions=True)

    return asyncio.run(ask())


def texts(answers: Sequence[ChatAnswer | BaseException]) -> list[str]:
    return [answer.text if isinstance(answer, ChatAnswer) else repr(answer) for answer in answers]


def turn(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]
