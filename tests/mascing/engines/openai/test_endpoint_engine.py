"""Replies from an endpoint through the interface of engines."""

from collections.abc import Callable

import pytest
import torch

from mascing.conversations.reply import Reply
from mascing.engines.engine import Turn
from mascing.engines.openai.endpoint import Endpoint
from mascing.engines.openai.endpoint_engine import EndpointEngine
from mascing.errors import MaskError
from mascing.masks.mask import Mask
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import GenerationConfig
from tests.fake_endpoint import FakeEndpoint
from tests.mascing import olmoe_folder
from tests.mascing.engines.openai.asking import config_for

GENERATION = GenerationConfig(max_new_tokens=4)


def replies(fake: FakeEndpoint, *asked: str) -> dict[int, Reply]:
    turns = [Turn(olmoe_folder.conversation(f"c{number}", text)) for number, text in enumerate(asked)]
    engine = EndpointEngine(Endpoint(config_for(fake)))
    return {number: answer.reply for number, answer in engine.replies(turns, GENERATION)}


def test_each_conversation_gets_its_reply(fake_endpoint: Callable[..., FakeEndpoint]) -> None:
    said = replies(fake_endpoint(), "one", "two words", "five words are too many")
    assert said == {
        0: Reply("one", tokens=1),
        1: Reply("two words", tokens=2),
        2: Reply("five words are too", cut_off=True, tokens=4),
    }


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"content": "yes", "reasoning_content": "is it?"}, Reply("yes", "is it?", tokens=1)),
        ({"content": None, "reasoning": "is it"}, Reply("", "is it", tokens=1, in_thought=True)),
        ({"content": "<think>is it?</think>yes"}, Reply("yes", "is it?", tokens=2)),
        ({"content": "<think>is it"}, Reply("", "is it", tokens=2, in_thought=True)),
        ({"content": None, "refusal": "I can't help."}, Reply("I can't help.", tokens=1)),
    ],
)  # fmt: skip
def test_thoughts_are_told_apart(
    fake_endpoint: Callable[..., FakeEndpoint], message: dict[str, str], expected: Reply
) -> None:
    assert replies(fake_endpoint(reply=lambda body: message), "q") == {0: expected}


def test_a_mask_is_refused_before_anything_is_asked(fake_endpoint: Callable[..., FakeEndpoint]) -> None:
    fake = fake_endpoint()
    mask = Mask.from_bias(torch.ones(3, 8), inspect_routers(olmoe_folder.model()))
    turns = [Turn(olmoe_folder.conversation("a", "one")), Turn(olmoe_folder.conversation("b", "two"), mask)]
    with pytest.raises(MaskError, match="cannot be steered"):
        list(EndpointEngine(Endpoint(config_for(fake))).replies(turns, GENERATION))
    assert fake.statuses.total() == 0


def test_replies_come_as_they_are_done(fake_endpoint: Callable[..., FakeEndpoint]) -> None:
    fake = fake_endpoint()
    turns = [Turn(olmoe_folder.conversation(f"c{number}", f"row {number}")) for number in range(20)]
    engine = EndpointEngine(Endpoint(config_for(fake, max_concurrency=1)))
    stream = engine.replies(turns, GENERATION)
    next(stream)
    assert fake.answered.total() < 20
    stream.close()  # type: ignore[attr-defined]
