"""How near the pace comes to a server's limit, in virtual time; the bench `judging_at_endpoint` takes real time."""

import asyncio
from random import Random

import pytest

from mascing.engines.openai.retrying import FailedError, RefusedError, Retrying
from mascing.schemas.settings.engine_settings import OpenAIEngine
from tests.mascing.engines.openai.virtual_time import run_virtually

CONFIG = OpenAIEngine(base_url="http://localhost/v1", model="m")
ROWS = 3000


class Server:
    """Takes ``per_second`` requests a second; a tenth is refused all the same, 6% fail and 2% hang for 3 s."""

    def __init__(self, per_second: float, latency: float, seed: int) -> None:
        self._per_second, self._latency, self._random = per_second, latency, Random(seed)
        self._allowance, self._filled = 1.0, 0.0
        self.answered = self.refused = 0

    async def answer(self) -> None:
        draw = self._random.random()
        await asyncio.sleep(0.003)
        if draw < 0.1 or not self._admitted():
            self.refused += 1
            raise RefusedError("429")
        await asyncio.sleep(3 if draw < 0.12 else self._latency * self._random.uniform(0.7, 1.3))
        if draw < 0.18:
            raise FailedError("it hangs, or fails")
        self.answered += 1

    def _admitted(self) -> bool:
        now = asyncio.get_running_loop().time()
        self._allowance = min(self._per_second, self._allowance + (now - self._filled) * self._per_second)
        self._filled = now
        if admitted := self._allowance >= 1:
            self._allowance -= 1
        return admitted


@pytest.mark.parametrize("seed", range(3))
def test_a_server_that_fails_and_limits_its_rate_is_used_to_four_fifths(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", Random(seed).uniform)
    server = Server(30, 0.2, seed)

    async def all_rows() -> None:
        retrying = Retrying(CONFIG)
        await asyncio.gather(*(retrying.answer(server.answer) for _ in range(ROWS)))

    _, seconds = run_virtually(all_rows())
    assert server.answered == ROWS
    assert ROWS / seconds >= 0.8 * 30
    assert server.refused < 0.45 * ROWS


def test_patience_begins_with_the_first_refusal_and_not_in_the_queue() -> None:
    config = CONFIG.model_copy(update={"max_concurrency": 1, "patience": 5.0})
    server = Server(100, 1.0, seed=0)

    async def all_rows() -> None:
        retrying = Retrying(config)
        await asyncio.gather(*(retrying.answer(server.answer) for _ in range(60)))

    _, seconds = run_virtually(all_rows())
    assert (server.answered, seconds > 50, server.refused > 0) == (60, True, True)
