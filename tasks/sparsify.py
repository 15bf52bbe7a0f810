"""Pruning in the select stage: of each method's pick the entries that keep its effect on dev, judged on the pool."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mascing.circuits.candidates import Candidate
from mascing.mask import Mask
from mascing.results import cell_score
from mascing.sparsify import Rows, sparsify, strength
from schemas.config import RunConfig
from schemas.conversation import Conversation
from tasks.actors import Pool
from tasks.judged import BASELINE, Row, Steered, judged_on_pool
from tasks.stage import steps


@dataclass(frozen=True)
class Pick:
    """A method's pick with its verdicts on dev conversations, all or the first of them."""

    candidate: Candidate
    rows: Rows


def pruned(
    pool: Pool, config: RunConfig, conversations: Sequence[Conversation], picks: Sequence[Pick], sigma_L: Tensor
) -> tuple[Rows, list[Pick], dict[str, dict[str, Any]]]:
    """The verdicts on the unsteered model, each pick with the entries that it needs, and facts of each by method.

    The cell of a pruned pick says how many entries were ``kept``; its verdicts are on all of dev.
    """

    def judge(masks: Sequence[Steered]) -> list[list[Row]]:
        return judged_on_pool(pool, config, conversations, masks, steps("select"), at_once=1)

    whole = [(pick.candidate.method, pick.candidate.mask) for pick in picks]
    baseline, *full = judge([(BASELINE, None), *whole])
    left, facts = [], {}
    for (method, mask), pick, rows in zip(whole, picks, full, strict=True):

        def judge_parts(parts: Sequence[Mask], method: str = method) -> list[list[Row]]:
            return judge([(method, part) for part in parts])

        found = sparsify(mask, strength(mask, sigma_L), baseline, rows, judge_parts, config.gates)
        left.append(
            Pick(Candidate(method, {**pick.candidate.cell, "kept": found.mask.entries}, found.mask), found.rows)
        )
        facts[method] = {
            "entries": mask.entries,
            "kept": found.mask.entries,
            "target_rate": [cell_score({}, one).target_rate for one in (rows, found.rows)],
            "replies": (found.judged + 1) * len(conversations),
        }
    return baseline, left, facts
