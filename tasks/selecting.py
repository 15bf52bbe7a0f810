"""The select stage races each method's candidates on dev, picks one per method and makes the control from the best.

(A file named `select` would shadow the standard library's module of that name.)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
from torch import Tensor

from mascing.evidence.results import cell_score
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.progress import Event, tell
from mascing.runs.files import DEV_VERDICTS, SELECTED
from mascing.runs.readers import candidates_of, conversations_of, sigma_of, unsteered_outcomes, unsteered_table
from mascing.runs.stored_conversations import Located
from mascing.schemas import tables
from mascing.schemas.cards.dev_race import DevCell, PrunedPick, SelectionCost
from mascing.schemas.config import RunConfig
from mascing.schemas.facts import SelectFacts
from mascing.schemas.finished import Harvested, Labelled, Optimised, Selected
from mascing.schemas.result import DevRates
from mascing.selection.budget import Budget
from mascing.selection.forecast import READ
from mascing.selection.racing import Cell, Race, Rows, blocks_of, race, replies_of
from mascing.selection.ranking import ranked
from mascing.storage import parquet
from mascing.storage.fingerprint import Streamed, fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.picking.dev import Dev, Pick
from mascing.tasks.picking.finals import judged_further
from mascing.tasks.picking.foretell import Foretold, enter_all, foretell
from mascing.tasks.picking.jury import Jury
from mascing.tasks.picking.pruned import pruned
from mascing.tasks.picking.sample import Sample
from mascing.tasks.picking.scatter import scatter_of
from mascing.tasks.picking.shuffles import Control, control_of, replies_for_control
from mascing.tasks.replying.judged import Judging, Row
from mascing.tasks.running.identity import engine_part, judged_replies_identity
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps
from mascing.tasks.workers.pool import Pool


def select(
    storage: Storage, config: RunConfig, labelled: Labelled, harvested: Harvested, optimised: Optimised, *, pool: Pool
) -> Finished[Selected]:
    """Write ``selected.safetensors`` (a candidate per method, and the control) and ``verdicts-dev.parquet``."""
    conversations, unsteered = conversations_of(storage, labelled, "dev"), unsteered_table(storage, labelled, "dev")

    def body(output: StageOutput[Selected]) -> Body:
        candidates = candidates_of(storage, optimised)
        jury = Jury(Judging(pool, storage, config, labelled.facts.checkpoint), conversations)
        outcomes = unsteered_outcomes(storage, labelled, "dev")
        return _select(output, _Contest(jury, candidates, outcomes, sigma_of(harvested)))

    read = Part(labelled, fingerprint([Streamed(conversations), Streamed(unsteered.rows())]))
    return run_stage(storage, recipe(config, read, harvested, optimised), body)


def recipe(config: RunConfig, labelled: Placed, harvested: Placed, optimised: Placed) -> Recipe[Selected]:
    """The recipe that identifies the picks; it holds only those gates that limit what a pick may cost."""
    identity = {
        **judged_replies_identity(config),
        **engine_part(config),
        "selection": config.selection,
        "limits": [config.gates.max_utility_loss, config.gates.protected_tolerance],
        "seed": config.seed,
    }
    inputs = {"label": labelled, "harvest": harvested, "optimise": optimised}
    return Recipe(Selected, config.behaviour.name, identity, inputs)


@dataclass(frozen=True)
class _Contest:
    """The candidates, who judges them on dev, and the outcome of the unsteered model on each conversation of dev."""

    jury: Jury
    candidates: Sequence[Candidate]
    unsteered: pa.Table
    sigma_L: Tensor

    @property
    def config(self) -> RunConfig:
        """The configuration of the run."""
        return self.jury.config

    @property
    def blocks(self) -> list[list[Located]]:
        """The blocks of conversations after which candidates may leave; a single block without racing."""
        selection = self.config.selection
        shares = selection.blocks if selection.mode == "racing" else (1.0,)
        return blocks_of(self.jury.conversations, shares, self.config.seed)

    @property
    def budget(self) -> Budget:
        """The replies that the selection may judge."""
        full = len(self.candidates) * len(self.jury.conversations)
        return Budget(full, racing=self.config.selection.mode == "racing")

    @property
    def dev(self) -> Dev:
        """The conversations in the order of the blocks, for what is done with the picks."""
        [read, *_] = blocks_of(self.jury.conversations, (READ,), self.config.seed)
        conversations = [conversation for block in self.blocks for conversation in block]
        sample = Sample(self.jury.judging, self.jury.at(read))
        ends = list(accumulate(map(len, self.blocks)))
        return Dev(self.jury, conversations, ends, self.baseline(conversations), sample, self.sigma_L)

    def judge(self, cells: Sequence[Cell], block: Sequence[Located]) -> list[list[Row]]:
        """One row per conversation for each of ``cells``: a candidate's number, or None for the unsteered model."""
        entrants = [self.candidates[cell] for cell in cells if cell is not None]
        masks = [(entrant.method, entrant.mask) for entrant in entrants]
        progress = steps("select", f"racing on {len(block)} conversations")
        judged = iter(self.jury.judge(masks, block, progress))
        return [self.baseline(block) if cell is None else next(judged) for cell in cells]

    def baseline(self, block: Sequence[Located]) -> list[Row]:
        """One row per conversation of the unsteered model."""
        rows: list[Row] = self.unsteered.take([conversation.position for conversation in block]).to_pylist()
        return rows


def _select(output: StageOutput[Selected], contest: _Contest) -> Body:
    foretold = _foretold(contest)
    looked, most = replies_of(foretold.looks), contest.budget.race
    raced = race(
        foretold.entrants,
        contest.blocks,
        contest.judge,
        contest.config.gates,
        foretold.losses,
        None if most is None else most - looked,
    )
    spent = looked + replies_of(raced.verdicts)
    dev = contest.dev
    picks, facts = _pruned(contest, dev, raced, contest.budget.total - spent)
    pruning = sum(pick.replies for pick in facts.values())
    control = control_of(dev, picks, contest.budget.total - spent - pruning)
    of_control = sum(map(len, control.rows))
    picks, ranking = judged_further(dev, picks, contest.budget.total - spent - pruning - of_control)
    cost = SelectionCost(
        replies=spent + ranking,
        replies_of_full_grid=contest.budget.full,
        replies_of_control=of_control,
        replies_of_pruning=pruning,
        prefill_tokens=foretold.tokens + dev.sample.tokens,
        budget=contest.budget.total,
    )
    tell(Event("select", "note", text=_cost_note(cost)))
    selected = [*(pick.candidate for pick in picks), control.candidate]
    places = _places(contest.candidates)
    judged: dict[Cell, Rows] = {**foretold.looks, **raced.verdicts}
    verdicts = _verdicts(places, judged, control)
    shards = [
        output.put(SELECTED, candidate_files.to_bytes(selected), len(selected)),
        output.put(DEV_VERDICTS, parquet.to_bytes(verdicts), len(verdicts)),
    ]
    return Body(
        shards,
        SelectFacts(
            baseline=_rates(raced.verdicts[None]),
            cells=_cells(contest.candidates, foretold, raced, judged),
            picked={method: places[cell] for method, cell in raced.picked.items()},
            sparsified=facts,
            order=tuple(_order(dev.baseline, picks, contest.config)),
            cost=cost,
            judging_cost=contest.jury.judging.cost,
            scatter=scatter_of(contest.candidates, places, foretold.rates, raced, contest.config.gates),
        ),
        rows_in=sum(shard.rows for shard in shards),
    )


def _foretold(contest: _Contest) -> Foretold:
    if contest.config.selection.mode == "full":
        return enter_all(contest.candidates)
    return foretell(contest.jury, contest.candidates)


def _pruned(contest: _Contest, dev: Dev, raced: Race, budget: int) -> tuple[list[Pick], dict[str, PrunedPick]]:
    picks = [Pick(contest.candidates[cell], raced.verdicts[cell]) for cell in raced.picked.values()]
    if not contest.config.selection.sparsify:
        return picks, {}
    return pruned(dev, picks, budget - replies_for_control(dev))


def _order(baseline: Rows, picks: Sequence[Pick], config: RunConfig) -> list[str]:
    """The methods by their picks on dev, the best first; the control is made of a pick and is none."""
    rows = {pick.candidate.method: pick.rows for pick in picks}
    entries = {pick.candidate.method: pick.candidate.mask.entries for pick in picks}
    return ranked(baseline, rows, entries, config.gates)


def _cost_note(cost: SelectionCost) -> str:
    note = (
        f"judged {cost.total:,} replies, {100 * cost.share:.0f}% of the full grid's {cost.replies_of_full_grid:,} "
        f"({cost.replies:,} to race and rank, {cost.replies_of_pruning:,} to prune, {cost.replies_of_control:,} of the "
        f"control), and read {cost.prefill_tokens:,} tokens of given replies"
    )
    if cost.total > cost.budget:
        note += f"; a grid as small as this one needs more than the budget of {cost.budget:,} replies"
    return note


def _verdicts(places: Sequence[int], judged: Mapping[Cell, Rows], control: Control) -> pa.Table:
    """All verdicts on candidates and the control, as DEV_VERDICTS."""
    by_place = [(0 if cell is None else places[cell], rows) for cell, rows in judged.items()]
    rows = [{**row, "cell": place} for place, rows in (*by_place, *enumerate(control.rows)) for row in rows]
    return pa.Table.from_pylist(rows, schema=tables.DEV_VERDICTS)


def _places(candidates: Sequence[Candidate]) -> list[int]:
    """The number of each candidate among those of its method."""
    counts: Counter[str] = Counter()
    places = []
    for candidate in candidates:
        places.append(counts[candidate.method])
        counts[candidate.method] += 1
    return places


def _cells(
    candidates: Sequence[Candidate], foretold: Foretold, raced: Race, judged: Mapping[Cell, Rows]
) -> tuple[DevCell, ...]:
    """The facts of every candidate: rates on the conversations that it was judged on, and why it left."""
    before = "first look" if foretold.looks else "margin"
    return tuple(
        DevCell(
            method=candidate.method,
            cell=candidate.cell,
            foretold=dict(foretold.rates[number]),
            judged=len(judged.get(number, ())),
            left=raced.left.get(number, "") if number in raced.verdicts else before,
            **_rates(judged.get(number, ())).model_dump(),
        )
        for number, candidate in enumerate(candidates)
    )


def _rates(rows: Rows) -> DevRates:
    if not rows:
        return DevRates()
    score = cell_score({}, rows)
    return DevRates(target_rate=score.target_rate, utility=dict(score.utility), protected=dict(score.protected))
