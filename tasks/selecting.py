"""The select stage races each method's candidates on dev, picks one per method and makes the control from the best.

(A file named `select` would shadow the standard library's module of that name.)
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from torch import Tensor

from mascing.evidence.results import cell_score
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.progress import Event, tell
from mascing.runs.files import DEV_VERDICTS, SELECTED
from mascing.runs.readers import candidates_of, conversations_of, sigma_of, unsteered_of
from mascing.schemas import tables
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.facts import DevCell, DevRates, PrunedPick, SelectFacts, SelectionCost
from mascing.schemas.finished import Harvested, Labelled, Optimised, Selected
from mascing.selection.racing import Cell, Race, Rows, blocks_of, race
from mascing.selection.ranking import ranked
from mascing.storage import parquet
from mascing.storage.fingerprint import fingerprint
from mascing.storage.manifests import StageOutput
from mascing.storage.object_storage import Storage
from mascing.tasks.picking.foretell import Foretold, enter_all, foretell
from mascing.tasks.picking.pruned import Pick, pruned
from mascing.tasks.picking.shuffles import Control, control_of
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.identity import judged_replies_identity
from mascing.tasks.running.judged import Row, judged_on_pool
from mascing.tasks.running.stage import Body, Finished, Part, Placed, Recipe, run_stage, steps

# Share of dev read before the race: likelihoods differ between masks on far fewer conversations than verdicts do.
_READ = 0.25


def select(
    storage: Storage, config: RunConfig, labelled: Labelled, harvested: Harvested, optimised: Optimised, *, pool: Pool
) -> Finished[Selected]:
    """Write ``selected.safetensors`` (a candidate per method, and the control) and ``verdicts-dev.parquet``."""
    conversations, unsteered = conversations_of(storage, labelled, "dev"), unsteered_of(storage, labelled, "dev")

    def body(output: StageOutput[Selected]) -> Body:
        candidates = candidates_of(storage, optimised)
        contest = _Contest(pool, config, candidates, conversations, unsteered, sigma_of(harvested))
        return _select(output, contest)

    read = Part(labelled, fingerprint([conversations, unsteered]))
    return run_stage(storage, recipe(config, read, harvested, optimised), body)


def recipe(config: RunConfig, labelled: Placed, harvested: Placed, optimised: Placed) -> Recipe[Selected]:
    """The recipe that identifies the picks; it holds only those gates that limit what a pick may cost."""
    identity = {
        **judged_replies_identity(config),
        "selection": config.selection,
        "limits": [config.gates.max_utility_loss, config.gates.protected_tolerance],
        "seed": config.seed,
    }
    inputs = {"label": labelled, "harvest": harvested, "optimise": optimised}
    return Recipe(Selected, config.behaviour.name, identity, inputs)


@dataclass(frozen=True)
class _Contest:
    """The candidates, the dev conversations that they are judged on, and the unsteered verdict on each, by id."""

    pool: Pool
    config: RunConfig
    candidates: Sequence[Candidate]
    conversations: Sequence[Conversation]
    unsteered: Mapping[str, Row]
    sigma_L: Tensor

    @property
    def blocks(self) -> list[list[Conversation]]:
        """The blocks of conversations after which candidates may leave; a single block without racing."""
        selection = self.config.selection
        shares = selection.blocks if selection.mode == "racing" else (1.0,)
        return blocks_of(self.conversations, shares, self.config.seed)

    def judge(self, cells: Sequence[Cell], block: Sequence[Conversation]) -> list[list[Row]]:
        """One row per conversation for each of ``cells``: a candidate's number, or None for the unsteered model."""
        entrants = [self.candidates[cell] for cell in cells if cell is not None]
        masks = [(entrant.method, entrant.mask) for entrant in entrants]
        progress = steps("select", f"racing on {len(block)} conversations")
        judged = iter(judged_on_pool(self.pool, self.config, block, masks, progress))
        return [self.baseline(block) if cell is None else next(judged) for cell in cells]

    def baseline(self, block: Sequence[Conversation]) -> list[Row]:
        """One row per conversation of the unsteered model."""
        return [self.unsteered[conversation.id] for conversation in block]


@dataclass(frozen=True)
class _Pruned:
    """The pruned picks and their facts by method."""

    picks: Sequence[Pick]
    facts: Mapping[str, PrunedPick]


def _select(output: StageOutput[Selected], contest: _Contest) -> Body:
    foretold = _foretold(contest)
    raced = race(foretold.entrants, contest.blocks, contest.judge, contest.config.gates, foretold.losses)
    baseline = [row for block in contest.blocks for row in contest.baseline(block)]
    pruning = _pruned(contest, raced, baseline)
    control = control_of(contest.pool, contest.config, baseline, pruning.picks, contest.blocks[0])
    cost = _cost(contest, foretold, raced, pruning, control)
    tell(Event("select", "note", text=_cost_note(cost)))
    selected = [*(pick.candidate for pick in pruning.picks), control.candidate]
    verdicts = _verdicts(contest.candidates, raced, control)
    shards = [
        output.put(SELECTED, candidate_files.to_bytes(selected), len(selected)),
        output.put(DEV_VERDICTS, parquet.to_bytes(verdicts), len(verdicts)),
    ]
    facts = SelectFacts(
        baseline=_rates(raced.verdicts[None]),
        cells=_cells(contest.candidates, foretold, raced),
        picked={method: _places(contest.candidates)[cell] for method, cell in raced.picked.items()},
        sparsified=dict(pruning.facts),
        order=tuple(_order(baseline, pruning.picks, contest.config)),
        cost=cost,
    )
    return Body(shards, facts, rows_in=sum(shard.rows for shard in shards))


def _foretold(contest: _Contest) -> Foretold:
    if contest.config.selection.mode == "full":
        return enter_all(contest.candidates)
    [sample, *_] = blocks_of(contest.conversations, (_READ,), contest.config.seed)
    return foretell(contest.pool, contest.config, sample, contest.candidates)


def _pruned(contest: _Contest, raced: Race, baseline: Rows) -> _Pruned:
    picks = [Pick(contest.candidates[cell], raced.verdicts[cell]) for cell in raced.picked.values()]
    if not contest.config.selection.sparsify:
        return _Pruned(picks, {})
    return _Pruned(*pruned(contest.pool, contest.config, contest.blocks, baseline, picks, contest.sigma_L))


def _order(baseline: Rows, picks: Sequence[Pick], config: RunConfig) -> list[str]:
    """The methods by their picks on dev, the best first; the control is made of a pick and is none."""
    rows = {pick.candidate.method: pick.rows for pick in picks}
    entries = {pick.candidate.method: pick.candidate.mask.entries for pick in picks}
    return ranked(baseline, rows, entries, config.gates)


def _cost(contest: _Contest, foretold: Foretold, raced: Race, pruning: _Pruned, control: Control) -> SelectionCost:
    full = len(contest.candidates) * len(contest.conversations)
    return SelectionCost(
        replies=sum(len(rows) for cell, rows in raced.verdicts.items() if cell is not None),
        replies_of_full_grid=full,
        budget=full // 5,
        replies_of_control=sum(map(len, control.rows)),
        replies_of_pruning=sum(pick.replies for pick in pruning.facts.values()),
        prefill_tokens=foretold.tokens,
    )


def _cost_note(cost: SelectionCost) -> str:
    share = cost.replies / cost.replies_of_full_grid
    return (
        f"judged {cost.replies:,} replies, {100 * share:.0f}% of the {cost.replies_of_full_grid:,} of the full "
        f"grid, {cost.replies_of_pruning:,} to prune the picks, and {cost.replies_of_control:,} of the control; "
        f"read {cost.prefill_tokens:,} tokens beforehand"
    )


def _verdicts(candidates: Sequence[Candidate], raced: Race, control: Control) -> pa.Table:
    """All verdicts of the race and the control, as DEV_VERDICTS."""
    places = _places(candidates)
    judged = [(0 if cell is None else places[cell], rows) for cell, rows in raced.verdicts.items()]
    rows = [{**row, "cell": place} for place, rows in (*judged, *enumerate(control.rows)) for row in rows]
    return pa.Table.from_pylist(rows, schema=tables.DEV_VERDICTS)


def _places(candidates: Sequence[Candidate]) -> list[int]:
    """The number of each candidate among those of its method."""
    counts: Counter[str] = Counter()
    places = []
    for candidate in candidates:
        places.append(counts[candidate.method])
        counts[candidate.method] += 1
    return places


def _cells(candidates: Sequence[Candidate], foretold: Foretold, raced: Race) -> tuple[DevCell, ...]:
    """The facts of every candidate: rates on the conversations that it was judged on, and why it left."""
    return tuple(
        DevCell(
            method=candidate.method,
            cell=candidate.cell,
            foretold=dict(foretold.rates[number]),
            judged=len(raced.verdicts.get(number, ())),
            left=raced.left.get(number, "") if number in raced.verdicts else "margin",
            **_rates(raced.verdicts.get(number, ())).model_dump(),
        )
        for number, candidate in enumerate(candidates)
    )


def _rates(rows: Rows) -> DevRates:
    if not rows:
        return DevRates()
    score = cell_score({}, rows)
    return DevRates(target_rate=score.target_rate, utility=dict(score.utility), protected=dict(score.protected))
