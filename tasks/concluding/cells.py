"""The cells of a finished run: what each method showed on test, and what it cost."""

from collections import defaultdict
from collections.abc import Mapping

import pyarrow as pa

from mascing.evidence.results import CONTROL, changes_by_set
from mascing.judges.judge import summed
from mascing.models.checkpoint_names import named_checkpoint
from mascing.runs.finished_run import read_inputs, stages_at
from mascing.runs.readers import condition_verdicts, conversations_of, selected_of, verdicts_of
from mascing.runs.run_folder import RunFolder
from mascing.schemas.campaign import CellCost, CellResult, GroupHits
from mascing.schemas.config import RunConfig
from mascing.schemas.finished import Optimised, RunStages, Selected
from mascing.schemas.result import Comparison
from mascing.storage import parquet
from mascing.storage.object_storage import Storage
from mascing.tasks.replying.judged import BASELINE
from mascing.tasks.replying.replies import RepliesFolder
from mascing.tasks.streaming.asked import Asked


def cells_of(storage: Storage, folder: RunFolder) -> list[CellResult]:
    """A result for each method of the run and for the control; none if the run ended after its labels."""
    inputs = read_inputs(storage, folder)
    stages, config = stages_at(storage, inputs.stages), inputs.run_config
    if stages.label is None or stages.evaluate is None or stages.gate is None or stages.publish is None:
        return []
    facts, tables = stages.gate.facts, verdicts_of(storage, stages.evaluate)
    compared = {(each.method, each.against): each for each in facts.comparisons}
    costs = _costs(storage, config, stages, tables)
    return [
        CellResult(
            run=folder.name,
            method=name,
            checkpoint=named_checkpoint(config.model, stages.label.facts.checkpoint).label,
            unsteered=facts.baseline.target_rate,
            target_rate=result.target_rate,
            uplift=result.uplift,
            changes=changes_by_set(tables[BASELINE], tables[name]),
            unscored=tables[name]["outcome"].to_pylist().count("unscored"),
            gate=result.gate,
            reasons=result.reasons,
            published=stages.publish.facts.winner == name,
            selected=result.selected,
            p=compared[name, BASELINE].p,
            p_control=_p(compared.get((name, CONTROL))),
            groups=_groups(tables[BASELINE], tables[name]),
            cost=costs[name],
        )
        for name, result in facts.methods.items()
    ]


def _p(comparison: Comparison | None) -> float | None:
    return comparison.p if comparison else None


def _groups(before: pa.Table, after: pa.Table) -> tuple[GroupHits, ...]:
    """The target conversations by group, in the order of their names."""
    groups: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for table, place in ((before, 1), (after, 2)):
        for row in table.select(["group_id", "set", "outcome"]).to_pylist():
            if row["set"] == "target":
                groups[row["group_id"]][place] += row["outcome"] == "hit"
                groups[row["group_id"]][0] += place == 1
    return tuple(
        GroupHits(group_id=name, conversations=count, before=hits, after=then)
        for name, (count, hits, then) in sorted(groups.items())
    )


def _costs(
    storage: Storage, config: RunConfig, stages: RunStages, tables: Mapping[str, pa.Table]
) -> dict[str, CellCost]:
    assert stages.label is not None
    assert stages.optimise is not None
    assert stages.select is not None
    tested = condition_verdicts(storage, stages.robustness) if stages.robustness else {}
    folder = RepliesFolder.of(config, stages.label.facts.checkpoint)
    asked = Asked(conversations_of(storage, stages.label, "test"))
    costs = {}
    for method, pick in selected_of(storage, stages.select).items():
        further = sum(len(judged[method]) for judged in tested.values() if method in judged)
        searched = _searched(stages.optimise, method) + _selected(stages.select, method)
        replies = searched + len(tables[method]) + further
        tokens = _tokens(storage, folder.under(pick.mask), asked)
        dollars = summed(tables[method]["cost"].to_pylist())
        costs[method] = CellCost(replies=replies, tokens_per_reply=tokens, judge_cost=dollars)
    return costs


def _searched(optimised: Optimised, method: str) -> int:
    cost = optimised.facts.costs.get(method)
    return cost.trials.generations if cost is not None and cost.trials is not None else 0


def _selected(selected: Selected, method: str) -> int:
    """The replies on dev: of the race and the final look, and of the pruning; or of the control."""
    facts = selected.facts
    if method == CONTROL:
        return facts.cost.replies_of_control
    pruned = facts.sparsified[method].replies if method in facts.sparsified else 0
    return sum(cell.judged for cell in facts.cells if cell.method == method) + pruned


def _tokens(storage: Storage, under: str, asked: Asked) -> float | None:
    """The mean length of the replies on test that are stored ``under`` a mask.

    None if some were deleted since, as by `mascing storage gc`.
    """
    lengths: list[int] = []
    for name, _ in asked.blocks():
        path = f"{under}/{name}.parquet"
        try:
            table = parquet.from_bytes(storage.read(path), path)
        except FileNotFoundError:
            return None
        lengths += [row["tokens"] for row in table.to_pylist() if row["failure"] is None]
    return sum(lengths) / len(lengths) if lengths else None
