"""How many experts to take of a table that ranks all of them."""

from dataclasses import dataclass

from mascing.errors import MaskError


@dataclass(frozen=True)
class Choice:
    """The strongest ``n_activated`` experts on, ``n_deactivated`` off; ``reverse`` steers against the behaviour."""

    n_activated: int = 0
    n_deactivated: int = 0
    reverse: bool = False

    def refuse(self) -> None:
        """Raise MaskError if something is chosen: for formats that say themselves what becomes of each expert."""
        if self != Choice():
            raise MaskError(
                "this file says itself which experts are on and off: --n-activated, --n-deactivated and --reverse are "
                "for tables that rank all experts"
            )
