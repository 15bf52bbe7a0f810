"""A budget that answers overrun: what each really took is counted by all who share a storage."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from mascing.engines.openai.answer import ChatAnswer
from mascing.engines.openai.endpoint import Endpoint
from mascing.engines.openai.ledger import Ledger
from mascing.errors import BudgetError
from mascing.schemas.settings.engine_settings import OpenAIEngine, Prices, SpendingLimit
from mascing.storage.object_storage import Storage
from tests.mascing.engines.openai.asking import all_of
from tests.mascing.engines.openai.raw_server import answering, response, said

ROWS = [f"row {number}" for number in range(20)]
PRICES = Prices(prompt=1000.0, completion=1000.0)


def config_at(url: str, budget: SpendingLimit) -> OpenAIEngine:
    return OpenAIEngine(base_url=url, model="m", timeout=5, max_concurrency=2, prices=PRICES, budget=budget)


def taking(tokens: int) -> bytes:
    """An answer that took so many tokens."""
    return response(said() | {"usage": {"prompt_tokens": tokens - 10, "completion_tokens": 10}})


@pytest.mark.parametrize("budget", [SpendingLimit(tokens=30_000), SpendingLimit(dollars=30.0)])
def test_answers_that_take_more_than_was_set_aside_end_the_budget_of_all_processes(
    budget: SpendingLimit, tmp_path: Path
) -> None:
    answered: list[Any] = []
    storage = Storage.open(str(tmp_path))

    def respond(body: str) -> bytes:
        answered.append(body)
        return taking(5010)

    with answering(respond) as url:
        config = config_at(url, budget)
        for _ in range(3):  # each as another process
            process = Endpoint(config, storage)
            answers = all_of(process, ROWS)
            [told, *_] = [str(answer) for answer in answers if isinstance(answer, BudgetError)]
            process.close()
            taken = Ledger(config, storage).taken
            assert taken.tokens == 5010 * len(answered)
            assert taken.dollars == pytest.approx(5.01 * len(answered))
            assert f"{taken} were spent" in told
    # The excess of the first answers was learnt, and set aside for all that followed.
    assert len(answered) == 5


def test_one_answer_that_took_more_than_all_there_is_is_counted_as_it_is(tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path))
    with answering(lambda body: taking(10**12)) as url:
        config = config_at(url, SpendingLimit(tokens=3000))
        process = Endpoint(config, storage)
        [answer] = all_of(process, ROWS[:1])
        assert isinstance(answer, ChatAnswer)
        [refused] = all_of(process, ROWS[1:2])
    assert isinstance(refused, BudgetError)
    assert Ledger(config, storage).taken.tokens == process.spent.tokens == 10**12


def test_what_waits_for_the_budget_is_not_sent_when_nobody_waits_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was cancelled; what was sent before is paid, and its answer is kept."""
    sent, go = threading.Semaphore(0), threading.Event()

    def respond(body: str) -> bytes:
        sent.release()
        go.wait(5)
        return taking(20)

    storage = Storage.open(str(tmp_path))
    with answering(respond) as url:
        config = config_at(url, SpendingLimit(tokens=400))  # room for one request at a time
        process = Endpoint(config, storage)
        asked = [process.ask([{"role": "user", "content": row}], max_tokens=8) for row in ROWS]
        assert sent.acquire(timeout=5)
        for each in asked:
            each.cancel()
        go.set()
        end = time.monotonic() + 5
        while len(storage.list("answers")) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        process.close()
    assert len(storage.list("answers")) == 2  # the answer, and the ledger
    assert Ledger(config, storage).taken.tokens == 20
    assert not sent.acquire(timeout=0.1)
    assert not caplog.records
