"""The budget of an endpoint: what was spent, what requests in flight could still take, and whether one more is sent."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mascing.engines.openai.finishing import finished
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
    """What one request could take by its length, what is set aside for it, and what it took once that is known."""

    def __init__(self, most: Amount, aside: Amount) -> None:
        self.most, self.aside = most, aside
        # A request that may have been paid unseen keeps what is set aside for it.
        self.taken = aside

    def took(self, amount: Amount) -> None:
        """Say what the request really took, be it more than was set aside."""
        self.taken = amount


class Spending:
    """Keeps an endpoint within its budget; of one event loop."""

    def __init__(self, config: OpenAIEngine, storage: Storage | None) -> None:
        self._model = config.model
        self._ledger = Ledger(config, storage) if config.budget is not None else None
        self.spent = Amount()
        self._held = Amount()
        self._granted = Amount()
        self._excess: Amount | None = None
        self._turn = asyncio.Condition()

    async def hold(self, most: Amount) -> Hold:
        """Set aside what a request could take, and what earlier answers took beyond that; it must be settled.

        Waits while only requests in flight stand in the way. Raises BudgetError if the request could take more than is
        left.
        """
        aside = most if self._ledger is None else await self._set_aside(self._ledger, most)
        return Hold(most, aside)

    @asynccontextmanager
    async def settling(self, hold: Hold) -> AsyncIterator[None]:
        """Count at the end what a request took for which ``hold`` was set aside."""
        try:
            yield
        finally:
            self.spent += hold.taken
            if self._ledger is not None:
                async with self._turn:
                    self._held -= hold.aside
                    await self._settle(self._ledger, hold.taken.beyond(hold.most))
                    self._turn.notify()

    async def _set_aside(self, ledger: Ledger, most: Amount) -> Amount:
        async with self._turn:
            try:
                if self._excess is None:
                    self._excess = (await asyncio.to_thread(ledger.account)).excess
                while not await self._covered(ledger, most + self._excess):
                    if not self._held.tokens:
                        raise BudgetError(self._exhausted(ledger, most + self._excess))
                    await self._turn.wait()
                self._held += most + self._excess
                return most + self._excess
            finally:
                self._turn.notify()  # there may be room for the next one too, and if not, it is told so

    async def _covered(self, ledger: Ledger, aside: Amount) -> bool:
        """Whether what this process was granted covers one more request; if not, it asks for more."""
        lacking = self.spent + self._held + aside - self._granted
        return not lacking.exceeds(Amount()) or await finished(self._granted_more(ledger, lacking))

    async def _granted_more(self, ledger: Ledger, lacking: Amount) -> bool:
        more = await asyncio.to_thread(ledger.take, lacking)
        self._granted += more or Amount()
        return more is not None

    async def _settle(self, ledger: Ledger, excess: Amount) -> None:
        """Count what was spent beyond all that was granted, and return what was granted and not used."""
        owed, known = (self.spent + self._held).beyond(self._granted), self._excess or Amount()
        if owed.exceeds(Amount()) or excess.exceeds(known):
            await asyncio.to_thread(ledger.owe, owed, excess)
            self._granted, self._excess = self._granted + owed, known.most(excess)
        if not self._held.tokens and self._granted.exceeds(self.spent):
            await asyncio.to_thread(ledger.give_back, self._granted - self.spent)
            self._granted = self.spent

    def _exhausted(self, ledger: Ledger, aside: Amount) -> str:
        return (
            f"the budget of {self._model} ({ledger.limits}) does not hold the next request: {ledger.taken} were spent "
            f"or set aside for requests of others, {self.spent} of that here, and it could take {aside}. What was "
            "answered is kept: raise the budget and run the same command again, and only what is missing is asked"
        )
