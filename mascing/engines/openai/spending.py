"""The budget of an endpoint: what was spent, what requests in flight could still take, and whether one more is sent."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from mascing.errors import BudgetError
from mascing.schemas.settings.engine_settings import OpenAIEngine, Prices

# What a server's chat template and default system prompt may add to a request, and the marks of each turn, in tokens.
_OF_TEMPLATE, _OF_TURN = 256, 16


@dataclass(frozen=True)
class Amount:
    """Tokens, and US dollars if the prices are known."""

    tokens: int = 0
    dollars: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens + other.tokens, self.dollars + other.dollars)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens - other.tokens, self.dollars - other.dollars)


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

    def __init__(self, config: OpenAIEngine) -> None:
        self._model, self._budget = config.model, config.budget
        self.spent = Amount()
        self._held = Amount()
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def hold(self, most: Amount) -> AsyncIterator[Hold]:
        """Hold what a request could take, and count at its end what it took.

        Waits while only requests in flight stand in the way. Raises BudgetError if the request could take more than is
        left.
        """
        async with self._settled:
            await self._settled.wait_for(lambda: self._fits(self.spent + self._held + most) or not self._held.tokens)
            if not self._fits(self.spent + most):
                raise BudgetError(self._exhausted(most))
            self._held += most
        hold = Hold(most)
        try:
            yield hold
        finally:
            self._held -= most
            self.spent += hold.taken
            async with self._settled:
                self._settled.notify_all()

    def _fits(self, amount: Amount) -> bool:
        tokens, dollars = (self._budget.tokens, self._budget.dollars) if self._budget else (None, None)
        return (tokens is None or amount.tokens <= tokens) and (dollars is None or amount.dollars <= dollars)

    def _exhausted(self, most: Amount) -> str:
        assert self._budget is not None
        limits = self._budget.model_dump(exclude_none=True)
        budget = ", ".join(f"{name}: {limit:g}" for name, limit in limits.items())
        return (
            f"the budget of {self._model} ({budget}) does not hold the next request: {self.spent.tokens} tokens "
            f"(${self.spent.dollars:.4f}) were spent, and it could take {most.tokens} more (${most.dollars:.4f}). What "
            "was answered is kept: raise the budget and run the same command again, and only what is missing is asked"
        )
