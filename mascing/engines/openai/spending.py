"""The budget of an endpoint: what was spent, what requests in flight could still take, and whether one more is sent."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mascing.engines.openai.ledger import Amount, Ledger
from mascing.errors import BudgetError
from mascing.schemas.settings.engine_settings import OpenAIEngine, Prices
from mascing.storage.object_storage import Storage

# What a server's chat template and default system prompt may add to a request, and the marks of each turn, in tokens.
_OF_TEMPLATE, _OF_TURN = 256, 16


def cost(prices: Prices | None, prompt: int, completion: int) -> float | None:
    """US dollars for these tokens; None if the prices are not known."""
    return None if prices is None else (prompt * prices.prompt + completion * prices.completion) / 1e6


def amount(prices: Prices | None, prompt: int, completion: int) -> Amount:
    """These tokens as an amount; dollars are 0 where prices are not known."""
    return Amount(prompt + completion, cost(prices, prompt, completion) or 0.0)


def most_prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """No fewer tokens than the messages can be: a token is a byte at least."""
    return _OF_TEMPLATE + sum(_OF_TURN + len(str(message["content"]).encode()) for message in messages)


class Hold:
    """What one request could take, until it is settled."""

    def __init__(self, most: Amount) -> None:
        self.taken = most

    def took(self, amount: Amount) -> None:
        """Say what the request really took; a request that may have been paid unseen keeps its most."""
        self.taken = amount


class Spending:
    """Keeps an endpoint within its budget; of one event loop."""

    def __init__(self, config: OpenAIEngine, storage: Storage | None) -> None:
        self._model = config.model
        self._ledger = Ledger(config, storage) if config.budget is not None else None
        self.spent = Amount()
        self._held = Amount()
        self._granted = Amount()
        self._turn = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, most: Amount) -> AsyncIterator[Hold]:
        """Hold what a request could take, and count at its end what it took.

        Waits while only requests in flight stand in the way. Raises BudgetError if the request could take more than is
        left.
        """
        if self._ledger is not None:
            await self._cover(self._ledger, most)
        hold = Hold(most)
        try:
            yield hold
        finally:
            self.spent += hold.taken
            if self._ledger is not None:
                async with self._turn:
                    self._held -= most
                    await self._return_unused(self._ledger)
                    self._turn.notify()

    async def _cover(self, ledger: Ledger, most: Amount) -> None:
        async with self._turn:
            try:
                while not await self._covered(ledger, most):
                    if not self._held.tokens:
                        raise BudgetError(self._exhausted(ledger, most))
                    await self._turn.wait()
                self._held += most
            finally:
                self._turn.notify()  # there may be room for the next one too, and if not, it is told so

    async def _covered(self, ledger: Ledger, most: Amount) -> bool:
        """Whether what this process was granted covers one more request; if not, it asks for more."""
        lacking = self.spent + self._held + most - self._granted
        if not lacking.exceeds(Amount()):
            return True
        more = await asyncio.to_thread(ledger.take, lacking)
        self._granted += more or Amount()
        return more is not None

    async def _return_unused(self, ledger: Ledger) -> None:
        if not self._held.tokens and self._granted.exceeds(self.spent):
            await asyncio.to_thread(ledger.give_back, self._granted - self.spent)
            self._granted = self.spent

    def _exhausted(self, ledger: Ledger, most: Amount) -> str:
        return (
            f"the budget of {self._model} ({ledger.limits}) does not hold the next request: {ledger.taken} were spent "
            f"or set aside for requests of others, {self.spent} of that here, and it could take {most}. What was "
            "answered is kept: raise the budget and run the same command again, and only what is missing is asked"
        )
