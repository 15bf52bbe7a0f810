"""What a bad key, server or response does: no key is told, nothing is paid unseen, no answer is lost."""

import json
from typing import Any

import pytest

from mascing.engines.engine import Usage
from mascing.engines.openai import retrying
from mascing.engines.openai.answer import ChatAnswer, Completion
from mascing.engines.openai.client import retry_after
from mascing.engines.openai.endpoint import Endpoint
from mascing.errors import ConfigError, EndpointError, RequestError
from tests.fake_endpoint import FakeEndpoint
from tests.mascing.engines.openai.asking import all_of, config_for
from tests.mascing.engines.openai.raw_server import Respond, answering, response, said

# What a request of five characters and eight tokens can take.
MOST = 256 + 16 + 5 + 8


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.01)


def asked(respond: Respond, *contents: str, **settings: Any) -> tuple[list[ChatAnswer | BaseException], Endpoint]:
    """What becomes of requests to a server that responds so."""
    with answering(respond) as url:
        endpoint = Endpoint(config_for(FakeEndpoint(url=url), attempts=2, **settings))
        return all_of(endpoint, contents or ["hello"]), endpoint


@pytest.mark.parametrize("key", ["sk-first\nsk-second", "sk-ключ", "sk-\x01tab"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_told(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(ConfigError, match="MY_KEY") as refused:
        Endpoint(config_for(FakeEndpoint(url="http://127.0.0.1:9/v1"), api_key_env="MY_KEY"))
    assert "sk-" not in str(refused.value)


@pytest.mark.parametrize(
    "lost", [response(said(), length=5000), response(said(), Content_Encoding="gzip"), b""], ids=["cut", "gzip", "none"]
)
def test_what_is_lost_after_it_was_sent_counts_as_paid(lost: bytes) -> None:
    [error], endpoint = asked(lambda body: lost)
    assert isinstance(error, EndpointError)
    assert endpoint.spent.tokens == 2 * MOST


def test_a_prompt_that_is_moderated_is_denied_alone_and_a_key_that_is_denied_ends_all() -> None:
    flagged = response({"error": {"message": "input was flagged"}}, status=403)
    [denied, *others], _ = asked(lambda body: flagged if "bad" in body else response(said()), "bad", "good", "fair")
    assert isinstance(denied, RequestError)
    assert "input was flagged" in str(denied)
    assert [answer.text for answer in others if isinstance(answer, ChatAnswer)] == ["fine", "fine"]
    for error in asked(lambda body: flagged, "a", "b")[0]:
        assert isinstance(error, EndpointError)
        assert not isinstance(error, RequestError)
        assert "refuses the key" in str(error)


@pytest.mark.parametrize("body", [{"detail": "no such field"}, {"error": "no such field"}, ["no such field"]])
def test_an_error_of_another_shape_is_told_as_it_is(body: Any) -> None:
    [error], _ = asked(lambda _: response(body, status=422))
    assert isinstance(error, RequestError)
    assert f"(422: {json.dumps(body)})" in str(error)


def test_payment_that_is_required_ends_all() -> None:
    [error, _], _ = asked(lambda body: response({"error": {"message": "Insufficient credits"}}, status=402), "a", "b")
    assert not isinstance(error, RequestError)
    assert "no credit is left (Insufficient credits)" in str(error)


@pytest.mark.parametrize(
    "usage",
    [
        {},
        None,
        {"prompt_tokens": None, "completion_tokens": 1},
        {"prompt_tokens": -9, "completion_tokens": 1},
        {"prompt_tokens": 0, "completion_tokens": 0},
    ],
)
def test_usage_that_cannot_be_read_counts_as_the_most(usage: dict[str, Any] | None) -> None:
    [answer], endpoint = asked(lambda body: response(said() | {"usage": usage}))
    assert isinstance(answer, ChatAnswer)
    assert endpoint.spent.tokens == MOST


def test_an_answer_is_kept_whatever_stands_beside_it() -> None:
    token = {"token": "Yes", "logprob": -0.1, "top_logprobs": None}
    parts = [{"type": "text", "text": "Y"}, {"type": "other"}, {"type": "text", "text": "es"}]
    first, second = (
        Completion.read(json.dumps(said(content, logprobs={"content": [token | changed]}))).answer(Usage(1, 1, None, 0))
        for content, changed in (("Yes", {}), (parts, {"logprob": None}))
    )
    assert (first.text, first.logprobs) == ("Yes", ({"Yes": -0.1},))
    assert (second.text, second.logprobs) == ("Yes", None)


@pytest.mark.parametrize("told", ["Wed, 21 Oct 99999999999 07:28:00 GMT", "soon", ""])
def test_a_time_to_wait_that_is_none_is_left_aside(told: str) -> None:
    assert retry_after({"retry-after": told}) is None
