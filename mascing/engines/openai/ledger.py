"""What all who share a storage have taken of one endpoint's budget."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from mascing.engines.openai.stored_answers import answers_folder
from mascing.schemas.settings.engine_settings import OpenAIEngine
from mascing.storage.object_storage import Storage
from mascing.storage.sealing import open_json, seal_json

# A process takes a part of the budget at a time, so that it need not write for each request.
_PARTS = 50


@dataclass(frozen=True)
class Amount:
    """Tokens, and US dollars if the prices are known."""

    tokens: int = 0
    dollars: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens + other.tokens, self.dollars + other.dollars)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.tokens - other.tokens, self.dollars - other.dollars)

    def __str__(self) -> str:
        return f"{self.tokens} tokens (${self.dollars:.4f})"

    def exceeds(self, other: "Amount") -> bool:
        """Whether it is more in tokens or in dollars; a billionth of a dollar is the rounding of sums."""
        return self.tokens > other.tokens or self.dollars > other.dollars + 1e-9


class Ledger:
    """One object that all processes change by compare-and-swap; without a storage this process counts for itself.

    A process that is killed keeps what it had taken and not used, a fiftieth of the budget or the requests in flight:
    they may have been paid.
    """

    def __init__(self, config: OpenAIEngine, storage: Storage | None) -> None:
        assert config.budget is not None
        self._budget, self._storage = config.budget, storage
        self._path = f"{answers_folder(config)}/spending.json"
        self._alone = _written(Amount())

    @property
    def limits(self) -> str:
        """The budget, in words."""
        return ", ".join(f"{name}: {limit:g}" for name, limit in self._budget.model_dump(exclude_none=True).items())

    @property
    def taken(self) -> Amount:
        """What was taken by all."""
        if self._storage is None:
            return self._read(self._alone)
        try:
            return self._read(self._storage.read(self._path))
        except FileNotFoundError:
            return Amount()

    def take(self, least: Amount) -> Amount | None:
        """Take ``least``, or a whole part of the budget where that is more and left; None if ``least`` is not left."""
        tokens, dollars = self._budget.tokens or 0, self._budget.dollars or 0.0
        part = Amount(max(least.tokens, tokens // _PARTS), max(least.dollars, dollars / _PARTS))
        granted: Amount | None = None

        def change(taken: Amount) -> Amount:
            nonlocal granted
            granted = next((amount for amount in (part, least) if self._fits(taken + amount)), None)
            return taken + (granted or Amount())

        self._update(change)
        return granted

    def give_back(self, amount: Amount) -> None:
        """Return what was taken and not used."""
        self._update(lambda taken: taken - amount)

    def _fits(self, amount: Amount) -> bool:
        limit = Amount(self._budget.tokens or amount.tokens, self._budget.dollars or amount.dollars)
        return not amount.exceeds(limit)

    def _update(self, change: Callable[[Amount], Amount]) -> None:
        def changed(data: bytes | None) -> bytes:
            return _written(change(Amount() if data is None else self._read(data)))

        if self._storage is None:
            self._alone = changed(self._alone)
        else:
            self._storage.update(self._path, changed)

    def _read(self, data: bytes) -> Amount:
        return Amount(**json.loads(open_json(data, self._path)))


def _written(amount: Amount) -> bytes:
    return seal_json(json.dumps(asdict(amount)))
