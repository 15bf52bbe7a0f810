"""The control in the select stage: shuffles of the best pick, judged on the pool; the median represents them."""

from collections.abc import Sequence
from dataclasses import dataclass

from mascing.circuits.control import shuffled
from mascing.evidence.results import cell_score
from mascing.masks.candidates import Candidate
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.selection.choice import choose
from mascing.selection.racing import Rows
from mascing.tasks.picking.pruned import Pick
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.judged import Row, judged_on_pool
from mascing.tasks.running.stage import steps

# Shuffles of a sparse mask do nothing, but shuffles of a testbed's 16 forced experts raised the target by 0 to 25
# points: a single draw can hit the circuit.
_SHUFFLES = 5


@dataclass(frozen=True)
class Control:
    """The median shuffle of the best pick, and the verdicts on every shuffle drawn."""

    candidate: Candidate
    rows: Sequence[Sequence[Row]]


def control_of(
    pool: Pool, config: RunConfig, baseline: Rows, picks: Sequence[Pick], conversations: Sequence[Conversation]
) -> Control:
    """The control made from the best of ``picks``, judged on the target set of ``conversations``."""
    best = _best(baseline, picks, config)
    drawn = [shuffled(best, config.seed + number) for number in range(_SHUFFLES)]
    targets = [conversation for conversation in conversations if conversation.set == "target"]
    masks = [(candidate.method, candidate.mask) for candidate in drawn]
    rows = judged_on_pool(pool, config, targets, masks, steps("select", "control"))
    return Control(_median(drawn, rows), rows)


def _best(baseline: Rows, picks: Sequence[Pick], config: RunConfig) -> Candidate:
    """The pick that wins on the conversations that all picks were judged on; the sparsest wins a tie."""
    sparsest_first = sorted(picks, key=lambda pick: pick.candidate.mask.entries)
    shared = min(len(pick.rows) for pick in picks)
    scores = [cell_score({}, pick.rows[:shared]) for pick in sparsest_first]
    return sparsest_first[choose(cell_score({}, baseline[:shared]), scores, config.gates)].candidate


def _median(drawn: Sequence[Candidate], rows: Sequence[Sequence[Row]]) -> Candidate:
    rates = [cell_score({}, judged).target_rate for judged in rows]
    return drawn[sorted(range(len(drawn)), key=lambda number: rates[number])[len(drawn) // 2]]
