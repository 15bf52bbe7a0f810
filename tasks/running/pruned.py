"""Pruning in the select stage: of each method's pick the entries that keep its effect on dev, judged on the pool."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from mascing.evidence.results import cell_score
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import PrunedPick
from mascing.selection.pruning import Rows, sparsify
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.judged import BASELINE, Row, judged_on_pool
from mascing.tasks.running.stage import steps


@dataclass(frozen=True)
class Pick:
    """A method's pick with its verdicts on dev conversations, all or the first of them."""

    candidate: Candidate
    rows: Rows


def pruned(
    pool: Pool,
    config: RunConfig,
    blocks: Sequence[Sequence[Conversation]],
    baseline: Rows,
    picks: Sequence[Pick],
    sigma_L: Tensor,
) -> tuple[Rows, list[Pick], dict[str, PrunedPick]]:
    """The verdicts on the unsteered model, each pick with the entries that it needs, and facts of each by method.

    ``baseline`` and the picks' verdicts are those on the conversations of ``blocks``, all or the first of them; those
    that are returned are on all. The cell of a pruned pick says how many entries were ``kept``.
    """
    conversations = [one for block in blocks for one in block]

    def judge(method: str, masks: Sequence[Mask | None], asked: Sequence[Conversation]) -> list[list[Row]]:
        named = [(method, mask) for mask in masks]
        return judged_on_pool(pool, config, asked, named, lambda done, total: None, at_once=1)

    def completed(method: str, mask: Mask | None, rows: Rows) -> Rows:
        rest = conversations[len(rows) :]
        return [*rows, *judge(method, [mask], rest)[0]] if rest else rows

    baseline = completed(BASELINE, None, baseline)
    told = steps("select", "pruning")
    left: list[Pick] = []
    facts: dict[str, PrunedPick] = {}
    for number, pick in enumerate(picks):
        told(number, len(picks))
        method, mask = pick.candidate.method, pick.candidate.mask
        full = completed(method, mask, pick.rows)
        strength_LE = mask.rule.strength_LE(sigma_L)
        found = sparsify(mask, strength_LE, baseline, full, partial(judge, method), blocks, config.gates)
        left.append(
            Pick(Candidate(method, {**pick.candidate.cell, "kept": found.mask.entries}, found.mask), found.rows)
        )
        facts[method] = PrunedPick(
            entries=mask.entries,
            kept=found.mask.entries,
            target_rate=(cell_score({}, full).target_rate, cell_score({}, found.rows).target_rate),
            replies=found.replies + len(full) - len(pick.rows),
        )
    told(len(picks), len(picks))
    return baseline, left, facts
