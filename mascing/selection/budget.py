"""How many replies the selection may judge, as shares of those that the full grid needs."""

from dataclasses import dataclass

SHARE = 0.25
"""The race, the pruning and the control together."""

RACE = 0.175
"""The race alone, so that something is left to prune the picks."""


@dataclass(frozen=True)
class Budget:
    """Replies for a selection whose full grid needs ``full`` of them; ``racing`` is off if that grid is judged."""

    full: int
    racing: bool

    @property
    def race(self) -> int | None:
        """The most replies of the race; None if the full grid is judged."""
        return int(RACE * self.full) if self.racing else None

    @property
    def total(self) -> int:
        """The most replies of all parts; pruning may take no less beside a full grid than beside a race."""
        return int(SHARE * self.full) if self.racing else self.full + int((SHARE - RACE) * self.full)
