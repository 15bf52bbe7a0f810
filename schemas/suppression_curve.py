"""`audit.json`: how far behaviour falls as experts are suppressed. Rates only: no reply, no mask, no expert's name."""

from mascing.schemas.base import Frozen
from mascing.schemas.config import AuditRanking
from mascing.schemas.result import Rate


class AuditPoint(Frozen):
    """``n`` experts off at once, in the order of the ranking and in random orders.

    ``rates`` and ``changes`` (paired with nothing off) are by set and follow the ranking; ``random`` has the audited
    set's rate of each random draw.
    """

    n: int
    rates: dict[str, Rate]
    changes: dict[str, Rate]
    random: tuple[Rate, ...]


class Audit(Frozen):
    """The whole of `audit.json`. ``baseline`` has the rate of each set with every expert on."""

    model: str
    behaviour: str
    set: str
    ranking: AuditRanking
    experts: int
    baseline: dict[str, Rate]
    points: tuple[AuditPoint, ...]
