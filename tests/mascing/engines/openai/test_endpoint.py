"""An endpoint that fails in every way: each request is answered once, paid once, and an error says what to do."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from mascing.engines.openai import retrying
from mascing.engines.openai.answer import ChatAnswer
from mascing.engines.openai.endpoint import Endpoint, endpoint
from mascing.engines.openai.ledger import Ledger
from mascing.errors import BudgetError, ConfigError, DamagedError, EndpointError, RequestError
from mascing.schemas.settings.engine_settings import OpenAIEngine, Prices, SpendingLimit
from mascing.storage.object_storage import Storage
from tests.fake_endpoint import KEY, FakeEndpoint, Faults
from tests.mascing.engines.openai.asking import all_of, config_for, texts, turn

Start = Callable[..., FakeEndpoint]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "FIRST_PAUSE_SECONDS", 0.02)


def test_of_300_requests_none_is_lost_and_none_is_paid_twice(fake_endpoint: Start, tmp_path: Path) -> None:
    """As `python -m tests.bench.judging_at_endpoint` shows with 5,000, at a limited rate."""
    faults = Faults(refused=0.1, errors=0.05, hangs=0.02, broken=0.015, garbled=0.015)
    fake = fake_endpoint(reply=lambda body: json.dumps({"hit": True}), faults=faults, latency=0.01)
    endpoint = Endpoint(config_for(fake, timeout=3), Storage.open(str(tmp_path)))
    said = texts(all_of(endpoint, [f"row {number}" for number in range(300)]))
    assert fake.answered.total() == len(fake.answered) == 300
    assert said.count('{"hit": true}') == 300 - len(fake.garbled)
    assert len(fake.garbled) > 0
    assert all(fake.statuses[status] > 0 for status in ("429", "500", "hang", "broken"))


def test_a_stored_answer_is_never_asked_for_again(fake_endpoint: Start, tmp_path: Path) -> None:
    fake = fake_endpoint()
    config, storage = config_for(fake, prices=Prices(prompt=1, completion=2)), Storage.open(str(tmp_path))
    [first] = all_of(Endpoint(config, storage), ["hello there"])
    [again] = all_of(Endpoint(config.model_copy(update={"timeout": 9.0}), storage), ["hello there"])
    assert isinstance(first, ChatAnswer)
    assert isinstance(again, ChatAnswer)
    assert (again.text, again.usage, again.stored, first.stored) == ("hello there", first.usage, True, False)
    assert first.usage.cost == pytest.approx((2 * 1 + 2 * 2) / 1e6)
    assert fake.statuses.total() == 1
    [path] = storage.list("answers")
    assert KEY not in storage.read(path).decode()
    storage.overwrite(path, storage.read(path).replace(b"hello there", b"hello world"))
    [damaged] = all_of(Endpoint(config, storage), ["hello there"])
    assert isinstance(damaged, DamagedError)
    assert "delete it" in str(damaged)


def test_equal_requests_in_flight_are_sent_once_and_draws_are_samples_of_their_own(
    fake_endpoint: Start, tmp_path: Path
) -> None:
    fake = fake_endpoint(latency=0.1)
    endpoint = Endpoint(config_for(fake), Storage.open(str(tmp_path)))
    assert texts(all_of(endpoint, ["same"] * 5)) == ["same"] * 5
    assert fake.statuses.total() == 1
    for draw in ("0", "1", "0"):
        all_of(endpoint, ["same"], temperature=1.0, draw=draw)
    assert fake.statuses.total() == 3


_DRIVER = """
import sys
from mascing.engines.openai.endpoint import Endpoint
from mascing.schemas.settings.engine_settings import OpenAIEngine
from mascing.storage.object_storage import Storage
from tests.mascing.engines.openai.asking import all_of, texts
config = OpenAIEngine(base_url=sys.argv[1], model="fake-judge", max_concurrency=4)
print(texts(all_of(Endpoint(config, Storage.open(sys.argv[2])), [f"row {number}" for number in range(40)])))
"""


def test_a_killed_driver_pays_at_most_what_was_in_flight_again(fake_endpoint: Start, tmp_path: Path) -> None:
    fake = fake_endpoint(latency=0.05)
    command = [sys.executable, "-c", _DRIVER, fake.url, str(tmp_path)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE)
    while fake.answered.total() < 15:
        assert driver.poll() is None, "the driver ended before it was killed"
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    config = config_for(fake, max_concurrency=4)
    said = texts(all_of(Endpoint(config, Storage.open(str(tmp_path))), [f"row {number}" for number in range(40)]))
    assert said == [f"row {number}" for number in range(40)]
    assert len(fake.answered) == 40
    assert len(fake.paid_twice) <= 4


def test_a_wrong_key_model_or_address_is_refused_at_once_and_no_key_is_told(
    fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    fake = fake_endpoint(key=KEY, latency=0.05)
    monkeypatch.setenv("MY_KEY", f"{KEY}-old")
    caplog.set_level(logging.DEBUG)
    config = config_for(fake, api_key_env="MY_KEY")
    wrong = Endpoint(config)
    errors = [str(error) for error in all_of(wrong, [f"row {number}" for number in range(50)])]
    assert len(errors) == 50
    assert fake.statuses["401"] <= 8  # those that were in flight when the first one was refused
    assert all("put a valid key" in error and "MY_KEY" in error for error in errors)
    monkeypatch.setenv("MY_KEY", KEY)
    storage = Storage.open(str(tmp_path))
    right = Endpoint(config, storage)
    [answer] = all_of(right, ["hello"])
    assert isinstance(answer, ChatAnswer)
    [model] = all_of(Endpoint(config.model_copy(update={"model": "other"})), ["hello"])
    [address] = all_of(Endpoint(config.model_copy(update={"base_url": f"{fake.url}/v2"})), ["hello"])
    assert "check `model`" in str(model)
    assert "`base_url`" in str(address)
    stored = "".join(storage.read(path).decode() for path in storage.list())
    told = [*errors, repr(wrong), repr(vars(right)), repr(config), stored, caplog.text]
    assert [text for text in told if KEY in text] == []


def test_nobody_at_the_address_is_told_after_three_attempts() -> None:
    endpoint = Endpoint(OpenAIEngine(base_url="http://127.0.0.1:9/v1", model="m"))
    [error] = all_of(endpoint, ["hello"])
    assert isinstance(error, EndpointError)
    assert not isinstance(error, RequestError)
    assert "failed 3 times" in str(error)
    assert "base_url" in str(error)


def test_a_request_that_is_wrong_alone_leaves_the_others(fake_endpoint: Start) -> None:
    def reply(body: dict[str, list[dict[str, str]]]) -> str:
        if body["messages"][0]["content"] == "too long":
            raise ValueError("maximum context length is 8 tokens")
        return "fine"

    fake = fake_endpoint(reply=reply)
    good, bad = all_of(Endpoint(config_for(fake)), ["short", "too long"])
    assert isinstance(good, ChatAnswer)
    assert isinstance(bad, RequestError)
    assert "maximum context length is 8 tokens" in str(bad)
    assert fake.statuses["400"] == 1


def test_a_request_that_always_hangs_is_given_up_while_others_are_answered(fake_endpoint: Start) -> None:
    fake = fake_endpoint(faults=Faults(hangs=0.3))
    endpoint = Endpoint(config_for(fake, timeout=3, attempts=1))
    answers = all_of(endpoint, [f"row {number}" for number in range(15)])
    given_up = [answer for answer in answers if isinstance(answer, RequestError)]
    assert 0 < len(given_up) == fake.statuses["hang"] < 15
    assert "no answer within 3 s" in str(given_up[0])


def test_without_credit_nothing_is_retried(fake_endpoint: Start) -> None:
    fake = fake_endpoint(credit=2)
    endpoint = Endpoint(config_for(fake, max_concurrency=1))
    *_, last = all_of(endpoint, ["a", "b", "c", "d"])
    assert isinstance(last, EndpointError)
    assert "no credit is left" in str(last)
    assert (fake.answered.total(), fake.statuses["429 without credit"]) == (2, 1)


def test_the_budget_ends_before_the_request_that_could_overrun_it(fake_endpoint: Start, tmp_path: Path) -> None:
    fake = fake_endpoint(reply=lambda body: "one two three", latency=0.01)
    budget = SpendingLimit(tokens=500)
    config, storage = config_for(fake, budget=budget), Storage.open(str(tmp_path))
    endpoint = Endpoint(config, storage)
    answers = all_of(endpoint, [f"row {number}" for number in range(120)])
    answered = [answer for answer in answers if isinstance(answer, ChatAnswer)]
    [told, *_] = [str(answer) for answer in answers if isinstance(answer, BudgetError)]
    assert endpoint.spent == Ledger(config, storage).taken
    assert 500 - 300 < endpoint.spent.tokens <= 500
    assert endpoint.spent.tokens == 5 * len(answered) == 5 * fake.answered.total()
    assert "tokens: 500" in told
    assert "is kept" in told
    [refused] = all_of(Endpoint(config, storage), ["another process"])
    assert isinstance(refused, BudgetError)
    raised = config.model_copy(update={"budget": SpendingLimit(tokens=1200)})
    assert (
        texts(all_of(Endpoint(raised, storage), [f"row {number}" for number in range(120)])) == ["one two three"] * 120
    )
    assert fake.paid_twice == []


def test_dollars_are_counted_by_the_prices(fake_endpoint: Start) -> None:
    fake = fake_endpoint(reply=lambda body: "one two three")
    config = config_for(fake, prices=Prices(prompt=1000, completion=1000), budget=SpendingLimit(dollars=0.3))
    endpoint = Endpoint(config)
    answers = all_of(endpoint, ["hello"])
    assert isinstance(answers[0], ChatAnswer)
    assert endpoint.spent.dollars == pytest.approx(0.004)
    [refused] = all_of(endpoint, ["hello " * 100])
    assert isinstance(refused, BudgetError)
    assert "$0.0040" in str(refused)


def test_a_server_that_does_not_count_tokens_is_counted_at_the_most(fake_endpoint: Start) -> None:
    fake = fake_endpoint(faults=Faults(hangs=1.0))
    endpoint = Endpoint(config_for(fake, timeout=0.05, attempts=2, budget=SpendingLimit(tokens=10_000)))
    all_of(endpoint, ["hello"])
    assert endpoint.spent.tokens == 2 * (256 + 16 + 5 + 8)  # each attempt may have been paid


def test_what_is_missing_is_named(fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = fake_endpoint()
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(ConfigError, match="variable MY_KEY is not set"):
        Endpoint(config_for(fake, api_key_env="MY_KEY"))
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ConfigError, match=r"install mascing\[openai\]"):
        Endpoint(config_for(fake))


def test_a_key_of_another_endpoint_is_not_sent(fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    fake = fake_endpoint(key=KEY)
    [error] = all_of(Endpoint(config_for(fake)), ["hello"])
    assert "refuses the key" in str(error)
    assert "`api_key_env`" in str(error)


def test_response_format_and_logprobs_reach_the_server(fake_endpoint: Start) -> None:
    seen: list[dict[str, object]] = []

    def reply(body: dict[str, object]) -> str:
        seen.append(body)
        return "yes"

    fake = fake_endpoint(reply=reply)
    endpoint = Endpoint(config_for(fake, token_limit="max_completion_tokens"))
    endpoint.ask(turn("q"), max_tokens=3, response_format={"type": "json_object"}, logprobs=2).result()
    assert seen[0] | {"messages": None} == {
        "model": "fake-judge", "messages": None, "max_completion_tokens": 3, "temperature": 0.0,
        "response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 2,
    }  # fmt: skip
    endpoint.close()


def test_an_endpoint_that_was_closed_is_opened_anew_and_leaves_nobody_waiting(fake_endpoint: Start) -> None:
    fake = fake_endpoint(faults=Faults(hangs=1.0))
    config = config_for(fake)
    first = endpoint(config, None)
    waiting = first.ask(turn("a"), max_tokens=4)
    first.close()
    with pytest.raises(CancelledError):
        waiting.result(5)
    with pytest.raises(EndpointError, match="was closed"):
        first.ask(turn("a"), max_tokens=4)
    fake.faults = Faults()
    assert endpoint(config, None).ask(turn("b"), max_tokens=4).result(5).text == "b"


def test_a_forked_process_opens_its_own_endpoint(fake_endpoint: Start) -> None:
    config = config_for(fake_endpoint())
    assert endpoint(config, None).ask(turn("a"), max_tokens=4).result(5).text == "a"
    child = os.fork()
    if not child:
        try:
            os._exit(endpoint(config, None).ask(turn("b"), max_tokens=4).result(5).text != "b")
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
