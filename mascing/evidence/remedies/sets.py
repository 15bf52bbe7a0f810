"""What would change the gate of one set: more rows, replies that can be read, a set that the model masters, a limit."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

from mascing.evidence.gates import shows_loss, signed
from mascing.evidence.remedies.compared import MOST_ROWS, Compared
from mascing.schemas.result import Rate, Remedy
from mascing.statistics.power import POWER

_MANY_UNREAD = 0.1
"""A share of unread replies that is told even where reading them would not be enough."""


@dataclass(frozen=True)
class Demand:
    """What a gate asks of one set, and the settings that it comes from.

    The lower bound of the change must reach ``least``, which is negative for a loss: ``unit`` times the value of the
    field ``setting``. ``in_test`` is the number of the set's conversations in the test split, of which a changed
    condition judges a sample (``is_sampled``), and ``share`` is that split's share of all groups.
    """

    gate: str
    least: float
    setting: str
    judge: str
    max_new_tokens: int
    min_baseline: float
    in_test: int
    share: float
    unit: float = 1.0
    is_loss: bool = True
    is_sampled: bool = False


def holds(compared: Compared, demand: Demand) -> bool:
    """Whether the set is as the gate asks."""
    masters = not demand.is_loss or shows_loss(compared.unsteered, -demand.least, demand.min_baseline)
    return masters and compared.change.low >= demand.least


def set_remedies(compared: Compared, demand: Demand) -> Iterator[Remedy]:
    """What would change the gate of a set that misses it, except for another mask."""
    yield from _unread(compared, demand)
    if demand.is_loss and not shows_loss(compared.unsteered, -demand.least, demand.min_baseline):
        yield from _not_mastered(compared, demand)
    elif value_holds(compared, demand):
        yield from _too_few(compared, demand)
    elif not demand.is_loss:
        yield from _limit(compared.change, demand, "")


def value_holds(compared: Compared, demand: Demand) -> bool:
    """Whether the measured change itself is as the gate asks, and only its interval is not."""
    change = compared.change
    return change.unscored < change.n and change.value >= demand.least


def _unread(compared: Compared, demand: Demand) -> Iterator[Remedy]:
    before, after = compared.unscored
    change = compared.change
    if not change.unscored:
        return
    read = compared.read
    enough = bool(read.before) and holds(read, demand)
    if not enough and change.unscored < _MANY_UNREAD * change.n:
        return
    counts = [
        f"{len(rows)} of {change.n} replies {which} ({len(rows) / change.n:.0%})"
        for rows, which in ((after, "under the mask"), (before, "of the unsteered model"))
        if rows
    ]
    cut = sum(bool(row["cut_off"]) for row in (*before, *after))
    mend = (
        f"raise generation.max_new_tokens above {demand.max_new_tokens}, where {cut} of them were cut off"
        if 2 * cut > len(before) + len(after)
        else "read them in the report, and take a judge that can read them (try it with `mascing judge`)"
    )
    alone = f"; the other {len(read.before)} alone would pass" if enough else ""
    yield Remedy(
        gate=demand.gate,
        kind="unscored",
        sentence=(
            f"{mend}: the judge `{demand.judge}` of {compared.name} could not read {' and '.join(counts)}, and each "
            f"counts against the mask{alone}"
        ),
    )


def _not_mastered(compared: Compared, demand: Demand) -> Iterator[Remedy]:
    unsteered, least = compared.unsteered, max(-demand.least, demand.min_baseline)
    if unsteered.unscored == unsteered.n:
        return
    says = f"the unsteered model scores {_percent(unsteered)} of {compared.name}, and {100 * least:g}% must be sure"
    if unsteered.value <= least:
        way = f"take rows that the model masters, or another judge than `{demand.judge}`, or remove the set"
        yield Remedy(gate=demand.gate, kind="baseline", sentence=f"{way}: {says}")
    elif needed := compared.rows_for_floor(least):
        yield Remedy(gate=demand.gate, kind="rows", sentence=f"{_rows(compared, demand, needed)}: {says}")
    else:
        way = "take rows that the model masters better, since no number of them makes it sure"
        yield Remedy(gate=demand.gate, kind="baseline", sentence=f"{way}: {says}")


def _too_few(compared: Compared, demand: Demand) -> Iterator[Remedy]:
    """More rows, if that many can be brought, and the limit that the present numbers keep."""
    gained, lost = compared.moved
    measured = f"{signed(compared.change.value)} points were measured ({gained:.1%} gained, {lost:.1%} lost)"
    if needed := compared.rows_needed(demand.least):
        chance = f"if that is the true change, {POWER:.0%} of test splits that large pass"
        sentence = f"{_rows(compared, demand, needed)}: {measured}; {chance}"
        yield Remedy(gate=demand.gate, kind="rows", sentence=sentence)
        yield from _limit(compared.change, demand, "")
    else:
        close = f": {measured}, so close to the limit that more than {MOST_ROWS:,} test conversations would be needed"
        yield from _limit(compared.change, demand, close)


def _limit(change: Rate, demand: Demand, told: str) -> Iterator[Remedy]:
    """The limit, in hundredths, that the present numbers keep, if there is one."""
    if demand.unit == 0:  # any share or multiple of a limit of 0 is 0
        return
    if demand.is_loss:
        value = ceil(-100 * change.low / demand.unit - 1e-9) / 100
    else:
        value = floor(100 * change.low / demand.unit + 1e-9) / 100
    if not 0 < value * demand.unit < 1:
        return
    what = "a loss of up to" if demand.is_loss else "a gain of at least"
    points = 100 * demand.unit * value
    sentence = (
        f"set {demand.setting} to {value:g} if {what} {points:g} points is acceptable to you, and run on new "
        f"conversations: chosen by these, the limit proves nothing{told}"
    )
    yield Remedy(gate=demand.gate, kind="limit", sentence=sentence)


def _rows(compared: Compared, demand: Demand, needed: int) -> str:
    name, held = compared.name, len(compared.before)
    needed = max(needed, held + 1)  # a split that missed by bad luck may be as large as is usually enough
    if not demand.is_sampled:
        in_all = ceil(needed / demand.share)
        return f"bring more rows of {name}: about {needed} in the test split (now {held}), {in_all} in all"
    raised = f"raise robustness.conversations to about {needed} (of {name}, {held} were judged)"
    if needed <= demand.in_test:
        return raised
    return f"{raised}, and bring more rows of {name}: the test split has {demand.in_test}"


def _percent(rate: Rate) -> str:
    return f"{100 * rate.value:.1f}% ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
