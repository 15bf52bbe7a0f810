"""Pruning in the select stage: keep the entries of each method's pick that its effect on dev needs."""

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
from mascing.selection.pruning import Rows, Sparsified, sparsify
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.judged import Row, judged_on_pool
from mascing.tasks.running.stage import steps


@dataclass(frozen=True)
class Pick:
    """A method's pick with its verdicts on all dev conversations, or on the first of them."""

    candidate: Candidate
    rows: Rows


def pruned(
    pool: Pool,
    config: RunConfig,
    blocks: Sequence[Sequence[Conversation]],
    baseline: Rows,
    picks: Sequence[Pick],
    sigma_L: Tensor,
) -> tuple[list[Pick], dict[str, PrunedPick]]:
    """The pruned picks, and the facts of each by method.

    ``baseline`` covers all conversations of ``blocks``; the picks' verdicts cover all, or the first of them. The
    ``kept`` in the cell of a pruned pick is its number of entries.
    """
    dev = _Dev(pool, config, blocks)
    progress = steps("select", "pruning")
    smaller: list[Pick] = []
    facts: dict[str, PrunedPick] = {}
    for number, pick in enumerate(picks):
        progress(number, len(picks))
        full = dev.completed(pick.candidate.method, pick.candidate.mask, pick.rows)
        sparsified = _sparsified(dev, pick.candidate, full, baseline, sigma_L)
        smaller.append(_smaller(pick.candidate, sparsified))
        facts[pick.candidate.method] = _facts(pick, full, sparsified)
    progress(len(picks), len(picks))
    return smaller, facts


@dataclass(frozen=True)
class _Dev:
    """The dev conversations in blocks, and the pool that judges replies to them."""

    pool: Pool
    config: RunConfig
    blocks: Sequence[Sequence[Conversation]]

    def judge(self, method: str, masks: Sequence[Mask], conversations: Sequence[Conversation]) -> list[list[Row]]:
        """For each mask of ``method``, one row per conversation."""
        named = [(method, mask) for mask in masks]
        return judged_on_pool(self.pool, self.config, conversations, named, lambda done, total: None, at_once=1)

    def completed(self, method: str, mask: Mask, rows: Rows) -> Rows:
        """``rows`` on the first conversations, followed by rows on the rest."""
        rest = [conversation for block in self.blocks for conversation in block][len(rows) :]
        return [*rows, *self.judge(method, [mask], rest)[0]] if rest else rows


def _sparsified(dev: _Dev, candidate: Candidate, full: Rows, baseline: Rows, sigma_L: Tensor) -> Sparsified:
    strength_LE = candidate.mask.rule.strength_LE(sigma_L)
    judge = partial(dev.judge, candidate.method)
    return sparsify(candidate.mask, strength_LE, baseline, full, judge, dev.blocks, dev.config.gates)


def _smaller(candidate: Candidate, sparsified: Sparsified) -> Pick:
    cell = {**candidate.cell, "kept": sparsified.mask.entries}
    return Pick(Candidate(candidate.method, cell, sparsified.mask), sparsified.rows)


def _facts(pick: Pick, full: Rows, sparsified: Sparsified) -> PrunedPick:
    """The facts of one pick; ``full`` are the verdicts on the pick before pruning, on all conversations."""
    return PrunedPick(
        entries=pick.candidate.mask.entries,
        kept=sparsified.mask.entries,
        target_rate=(cell_score({}, full).target_rate, cell_score({}, sparsified.rows).target_rate),
        replies=sparsified.replies + len(full) - len(pick.rows),
    )
