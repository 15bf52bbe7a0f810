"""The control in the select stage: shuffles of the best pick, read or judged; the median represents them."""

from collections.abc import Sequence
from dataclasses import dataclass

from mascing.circuits.control import shuffled
from mascing.evidence.results import cell_score
from mascing.masks.candidates import Candidate
from mascing.runs.stored_conversations import Located
from mascing.schemas.config import GatesConfig
from mascing.selection.choice import choose
from mascing.selection.racing import Rows
from mascing.tasks.picking.dev import Dev, Pick
from mascing.tasks.replying.judged import Row
from mascing.tasks.running.stage import steps

# Shuffles of a sparse mask do nothing, but shuffles of a testbed's 16 forced experts raised the target by 0 to 25
# points: a single draw can hit the circuit.
_SHUFFLES = 5

# Target conversations that tell a shuffle that hits the circuit from one that does not, however small the budget.
_FEWEST = 16


@dataclass(frozen=True)
class Control:
    """The median shuffle of the best pick, and the verdicts on every shuffle drawn, if they were judged."""

    candidate: Candidate
    rows: Sequence[Sequence[Row]]


def replies_for_control(dev: Dev) -> int:
    """The number of replies that the control takes: none if the shuffles' forced rates tell their median."""
    return 0 if dev.sample.foretells else _SHUFFLES * len(_targets(dev))


def control_of(dev: Dev, picks: Sequence[Pick], budget: int) -> Control:
    """The control made from the best of ``picks``.

    The shuffles are compared by their forced target rates or, without given replies, on target conversations of the
    first block, as far as the ``budget`` of replies goes.
    """
    best = _best(dev.baseline, picks, dev.config.gates)
    drawn = [shuffled(best, dev.config.seed + number) for number in range(_SHUFFLES)]
    if dev.sample.foretells:
        rates = [rates["target"] for rates in dev.sample.rates([candidate.mask for candidate in drawn])]
        return Control(_median(drawn, rates), [])
    targets = _targets(dev)[: max(_FEWEST, budget // _SHUFFLES)]
    masks = [(candidate.method, candidate.mask) for candidate in drawn]
    rows = dev.jury.judge(masks, targets, steps("select", "control"))
    return Control(_median(drawn, [cell_score({}, judged).target_rate for judged in rows]), rows)


def _targets(dev: Dev) -> list[Located]:
    return [conversation for conversation in dev.conversations[: dev.ends[0]] if conversation.set == "target"]


def _best(baseline: Rows, picks: Sequence[Pick], gates: GatesConfig) -> Candidate:
    """The pick that wins on the conversations that all picks were judged on; the sparsest wins a tie."""
    sparsest_first = sorted(picks, key=lambda pick: pick.candidate.mask.entries)
    shared = min(len(pick.rows) for pick in picks)
    scores = [cell_score({}, pick.rows[:shared]) for pick in sparsest_first]
    return sparsest_first[choose(cell_score({}, baseline[:shared]), scores, gates)].candidate


def _median(drawn: Sequence[Candidate], rates: Sequence[float]) -> Candidate:
    return drawn[sorted(range(len(drawn)), key=lambda number: rates[number])[len(drawn) // 2]]
