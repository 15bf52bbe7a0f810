"""Fake OpenAI endpoints for tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fake_endpoint import FakeEndpoint, running_endpoint


@pytest.fixture
def fake_endpoint() -> Iterator[Callable[..., FakeEndpoint]]:
    """Start a fake endpoint with these settings; it ends with the test."""
    with ExitStack() as running:

        def start(**settings: Any) -> FakeEndpoint:
            return running.enter_context(running_endpoint(**settings))

        yield start
