"""`audit.json`: how far behaviour falls as experts are suppressed. It holds rates, but no reply, mask or expert."""

from mascing.schemas.base import Frozen
from mascing.schemas.config import AuditRanking
from mascing.schemas.result import Rate


class AuditPoint(Frozen):
    """Rates with the first ``n`` experts off, in the order of the ranking and in random orders.

    ``rates`` and ``changes`` are keyed by set and follow the ranking; a change is paired with all experts on.
    ``random`` holds the rate of the audited set for each random draw.
    """

    n: int
    rates: dict[str, Rate]
    changes: dict[str, Rate]
    random: tuple[Rate, ...]


class Audit(Frozen):
    """The whole of `audit.json`; ``baseline`` holds the rate of each set with all experts on."""

    model: str
    behaviour: str
    set: str
    ranking: AuditRanking
    experts: int
    baseline: dict[str, Rate]
    points: tuple[AuditPoint, ...]
