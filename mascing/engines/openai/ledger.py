"""What all who share a storage have taken of one endpoint's budget."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

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

    def beyond(self, other: "Amount") -> "Amount":
        """By how much it is more, in tokens and in dollars; nothing where it is not."""
        return Amount(max(0, self.tokens - other.tokens), max(0.0, self.dollars - other.dollars))

    def most(self, other: "Amount") -> "Amount":
        """The larger tokens and the larger dollars of both."""
        return Amount(max(self.tokens, other.tokens), max(self.dollars, other.dollars))


@dataclass(frozen=True)
class Account:
    """What was ``taken`` by all, and by how much at most an answer took more than was set aside for it."""

    taken: Amount = Amount()
    excess: Amount = Amount()


class Ledger:
    """One object that all processes change by compare-and-swap; without a storage this process counts for itself.

    A process that is killed keeps what it had taken and not used, a fiftieth of the budget or the requests in flight:
    they may have been paid.
    """

    def __init__(self, config: OpenAIEngine, storage: Storage | None) -> None:
        assert config.budget is not None
        self._budget, self._storage = config.budget, storage
        self._path = f"{answers_folder(config)}/spending.json"
        self._alone = _written(Account())

    @property
    def limits(self) -> str:
        """The budget, in words."""
        return ", ".join(f"{name}: {limit:g}" for name, limit in self._budget.model_dump(exclude_none=True).items())

    def account(self) -> Account:
        """What stands in it now."""
        if self._storage is None:
            return self._read(self._alone)
        try:
            return self._read(self._storage.read(self._path))
        except FileNotFoundError:
            return Account()

    @property
    def taken(self) -> Amount:
        """What was taken by all."""
        return self.account().taken

    def take(self, least: Amount) -> Amount | None:
        """Take ``least``, or a whole part of the budget where that is more and left; None if ``least`` is not left."""
        tokens, dollars = self._budget.tokens or 0, self._budget.dollars or 0.0
        part = least.most(Amount(tokens // _PARTS, dollars / _PARTS))
        granted: Amount | None = None

        def change(before: Account) -> Account:
            nonlocal granted
            granted = next((amount for amount in (part, least) if self._fits(before.taken + amount)), None)
            return replace(before, taken=before.taken + (granted or Amount()))

        self._update(change)
        return granted

    def owe(self, amount: Amount, excess: Amount) -> None:
        """Count what was spent beyond all that was taken, whether it is left or not; an answer took ``excess`` more."""
        self._update(lambda before: Account(before.taken + amount, before.excess.most(excess)))

    def give_back(self, amount: Amount) -> None:
        """Return what was taken and not used."""
        self._update(lambda before: replace(before, taken=before.taken - amount))

    def _fits(self, amount: Amount) -> bool:
        limit = Amount(self._budget.tokens or amount.tokens, self._budget.dollars or amount.dollars)
        return not amount.exceeds(limit)

    def _update(self, change: Callable[[Account], Account]) -> None:
        def changed(data: bytes | None) -> bytes:
            return _written(change(Account() if data is None else self._read(data)))

        if self._storage is None:
            self._alone = changed(self._alone)
        else:
            self._storage.update(self._path, changed)

    def _read(self, data: bytes) -> Account:
        stored = json.loads(open_json(data, self._path))
        return Account(Amount(stored["tokens"], stored["dollars"]), Amount(**stored.get("excess", {})))


def _written(account: Account) -> bytes:
    return seal_json(json.dumps({**asdict(account.taken), "excess": asdict(account.excess)}))
