"""Pruning in the select stage: keep the entries of each method's pick that its effect on dev needs."""

from collections.abc import Sequence

from mascing.evidence.results import cell_score
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.runs.stored_conversations import Located
from mascing.schemas.cards.dev_race import PrunedPick
from mascing.schemas.result import SingleExpert
from mascing.selection.parts import restricted, strongest_first
from mascing.selection.pruning import SLACK, Evidence, Sparsified, sparsify
from mascing.selection.racing import blocks_of
from mascing.tasks.picking.dev import Dev, Pick
from mascing.tasks.replying.judged import Row
from mascing.tasks.running.stage import steps

# Shares of the conversations after which a part that has clearly lost the effect is judged no further.
_LOOKS = (0.25, 0.5, 1.0)

# Entries whose effect is read one by one.
_SINGLE = 8


def pruned(dev: Dev, picks: Sequence[Pick], budget: int) -> tuple[list[Pick], dict[str, PrunedPick]]:
    """The pruned picks, and the facts of each by method.

    All picks together take at most ``budget`` replies, but each may have one part judged on the first block. The
    ``kept`` in the cell of a pruned pick is its number of entries.
    """
    progress = steps("select", "pruning")
    smaller: list[Pick] = []
    facts: dict[str, PrunedPick] = {}
    for number, pick in enumerate(picks):
        progress(number, len(picks))
        sparsified = _sparsified(dev, pick, budget // (len(picks) - number))
        budget -= sparsified.replies
        smaller.append(_smaller(pick.candidate, sparsified))
        facts[pick.candidate.method] = _facts(dev, pick, sparsified)
    progress(len(picks), len(picks))
    return smaller, facts


def _sparsified(dev: Dev, pick: Pick, budget: int) -> Sparsified:
    """Prune on all conversations that the pick was judged on, or on the first block if the budget ends there."""
    read = dev.sample.rates if dev.sample.foretells else None
    judged = len(pick.rows) if read and budget >= len(pick.rows) else min(dev.ends[0], len(pick.rows))
    mask = pick.candidate.mask

    def judge(parts: Sequence[Mask], conversations: Sequence[Located]) -> list[list[Row]]:
        return dev.judge([(pick.candidate.method, part) for part in parts], conversations)

    evidence = Evidence(
        blocks=blocks_of(dev.conversations[:judged], _LOOKS, dev.config.seed),
        baseline=dev.baseline[:judged],
        full=pick.rows[:judged],
        judge=judge,
        budget=max(budget, judged),
        read=read,
    )
    return sparsify(mask, mask.rule.strength_LE(dev.sigma_L), evidence, dev.config.gates)


def _smaller(candidate: Candidate, sparsified: Sparsified) -> Pick:
    cell = {**candidate.cell, "kept": sparsified.mask.entries}
    return Pick(Candidate(candidate.method, cell, sparsified.mask), sparsified.rows)


def _facts(dev: Dev, pick: Pick, sparsified: Sparsified) -> PrunedPick:
    before = pick.rows[: len(sparsified.rows)]
    return PrunedPick(
        entries=pick.candidate.mask.entries,
        kept=sparsified.mask.entries,
        target_rate=(cell_score({}, before).target_rate, cell_score({}, sparsified.rows).target_rate),
        replies=sparsified.replies,
        single=_single(dev, pick.candidate.mask, sparsified.mask) if dev.sample.foretells else (),
    )


def _single(dev: Dev, full: Mask, kept: Mask) -> tuple[SingleExpert, ...]:
    """What the strongest entries of ``kept`` do alone; nothing if the full mask has no effect to share."""
    before = dev.sample.baseline["target"]
    rise = dev.sample.rates([full])[0]["target"] - before
    if rise <= SLACK:
        return ()
    places = strongest_first(kept, kept.rule.strength_LE(dev.sigma_L))[:_SINGLE]
    alone = dev.sample.rates([restricted(kept, (place,)) for place in places])
    return tuple(
        SingleExpert(
            layer=kept.spec.layer_ids[place // kept.spec.n_experts],
            expert=place % kept.spec.n_experts,
            share=min(1.0, max(0.0, (rates["target"] - before) / rise)),
        )
        for place, rates in zip(places, alone, strict=True)
    )
