"""The select stage: one pick a method, raced on the dev split, and the control made of the best."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from mascing.circuits import control
from mascing.evidence.results import cell_score
from mascing.masks import candidates as candidate_files
from mascing.masks.candidates import Candidate
from mascing.progress import Event, tell
from mascing.schemas.config import RunConfig
from mascing.schemas.conversation import Conversation
from mascing.schemas.manifest import Manifest
from mascing.schemas.tables import DEV_VERDICTS
from mascing.selection.choice import choose
from mascing.selection.racing import Cell, Race, Rows, blocks_of, race
from mascing.storage import parquet as tables
from mascing.storage.manifests import StageOutput, read_shard
from mascing.storage.object_storage import Storage
from mascing.tasks.harvest import sigma_of
from mascing.tasks.optimise import candidates_of, methods_of
from mascing.tasks.prepare import conversations_of
from mascing.tasks.running.actors import Pool
from mascing.tasks.running.foretell import Foretold, enter_all, foretell
from mascing.tasks.running.judged import BASELINE, Row, judged_on_pool
from mascing.tasks.running.pruned import Pick, pruned
from mascing.tasks.running.stage import Body, StageRun, run_stage, steps

SELECTED = "selected.safetensors"
VERDICTS = "verdicts-dev.parquet"

# Shuffles of the best mask, of which the median is the control. Shuffles of a sparse mask do nothing, but those of a
# testbed's 16 forced experts raised the target by anything from 0 to 25 points.
_SHUFFLES = 5

# Share of dev that is read beforehand: likelihoods differ between masks long before verdicts do.
_READ = 0.25


def select(
    storage: Storage, config: RunConfig, prepared: Manifest, harvested: Manifest, optimised: Manifest, *, pool: Pool
) -> StageRun:
    """``selected.safetensors``: one candidate a method, `random` included; ``verdicts-dev.parquet``: what was judged.

    Facts: ``baseline`` and ``cells`` with their rates on the dev conversations that each was judged on and why it left,
    ``picked``, the number of each method's cell among its own, ``sparsified``, what pruning left of each pick, and
    ``cost``: the replies that were generated, those that the full grid takes, and the tokens of the prefills.
    """
    return run_stage(
        storage,
        "select",
        config.behaviour.name,
        identity={
            "judges": [config.behaviour.target, config.behaviour.utility, config.behaviour.protected],
            "max_new_tokens": config.generation.max_new_tokens,
            "temperature": config.generation.temperature,
            "selection": config.selection,
            "gates": config.gates,
            "seed": config.seed,
        },
        inputs={"prepare": prepared, "harvest": harvested, "optimise": optimised},
        body=lambda output: _select(output, storage, config, prepared, harvested, optimised, pool),
    )


def selected_of(storage: Storage, selected: Manifest) -> dict[str, Candidate]:
    """The selected candidate of each method."""
    return {one.method: one for one in candidate_files.from_bytes(read_shard(storage, selected, SELECTED))}


def _select(
    output: StageOutput,
    storage: Storage,
    config: RunConfig,
    prepared: Manifest,
    harvested: Manifest,
    optimised: Manifest,
    pool: Pool,
) -> Body:
    everyone = [one for method in methods_of(optimised) for one in candidates_of(storage, optimised, method)]
    conversations = conversations_of(storage, prepared, "dev")
    selection = config.selection
    blocks = blocks_of(conversations, selection.blocks if selection.mode == "racing" else (1.0,), config.seed)

    def judge(cells: Sequence[Cell], block: Sequence[Conversation]) -> list[list[Row]]:
        masks = [(BASELINE, None) if cell is None else (everyone[cell].method, everyone[cell].mask) for cell in cells]
        return judged_on_pool(pool, config, block, masks, steps("select", f"racing on {len(block)} conversations"))

    [sample, *_] = blocks_of(conversations, (_READ,), config.seed)
    hopes = foretell(pool, config, sample, everyone) if selection.mode == "racing" else enter_all(everyone)
    run = race(hopes.entrants, blocks, judge, config.gates, hopes.losses)
    baseline, picks = run.verdicts[None], [Pick(everyone[cell], run.verdicts[cell]) for cell in run.picked.values()]
    sparsified: dict[str, dict[str, Any]] = {}
    if selection.sparsify:
        baseline, picks, sparsified = pruned(pool, config, blocks, baseline, picks, sigma_of(harvested))
    best = _best(baseline, picks, config)
    shuffles = [control.shuffled(best, config.seed + number) for number in range(_SHUFFLES)]
    targets = [one for one in blocks[0] if one.set == "target"]
    masks = [(one.method, one.mask) for one in shuffles]
    shuffled = judged_on_pool(pool, config, targets, masks, steps("select", "control"))
    verdicts = _table(run, everyone, shuffled)
    cost = {
        "replies": sum(map(len, run.verdicts.values())),
        "replies_of_full_grid": (len(everyone) + 1) * len(conversations),
        "replies_of_control": sum(map(len, shuffled)),
        "replies_of_pruning": sum(one["replies"] for one in sparsified.values()),
        "prefill_tokens": hopes.tokens,
    }
    tell(Event("select", "note", text=_told(cost)))
    selected = [*(pick.candidate for pick in picks), _median(shuffles, shuffled)]
    shards = [
        output.put(SELECTED, candidate_files.to_bytes(selected), len(selected)),
        output.put(VERDICTS, tables.to_bytes(verdicts), len(verdicts)),
    ]
    facts = {
        "baseline": _rates(run.verdicts[None]),
        "cells": _cells(run, hopes, everyone),
        "picked": {method: _places(everyone)[cell] for method, cell in run.picked.items()},
        "sparsified": sparsified,
        "cost": cost,
    }
    return Body(shards, rows_in=sum(shard.rows for shard in shards), facts=facts)


def _told(cost: Mapping[str, int]) -> str:
    share = cost["replies"] / cost["replies_of_full_grid"]
    return (
        f"judged {cost['replies']:,} replies, {100 * share:.0f}% of the {cost['replies_of_full_grid']:,} of the full "
        f"grid, {cost['replies_of_pruning']:,} to prune the picks, and {cost['replies_of_control']:,} of the control; "
        f"read {cost['prefill_tokens']:,} tokens beforehand"
    )


def _best(baseline: Rows, picks: Sequence[Pick], config: RunConfig) -> Candidate:
    """The pick that would win on the conversations that all picks were judged on; of equal ones the sparsest."""
    sparsest_first = sorted(picks, key=lambda pick: pick.candidate.mask.entries)
    shared = min(len(pick.rows) for pick in picks)
    scores = [cell_score({}, pick.rows[:shared]) for pick in sparsest_first]
    return sparsest_first[choose(cell_score({}, baseline[:shared]), scores, config.gates)].candidate


def _median(shuffles: Sequence[Candidate], judged: Sequence[Sequence[Row]]) -> Candidate:
    """The typical shuffle of the best mask: the median of several on dev, since one draw can hit the circuit."""
    rates = [cell_score({}, rows).target_rate for rows in judged]
    return shuffles[sorted(range(len(shuffles)), key=lambda number: rates[number])[len(shuffles) // 2]]


def _table(run: Race, everyone: Sequence[Candidate], shuffled: Sequence[Sequence[Row]]) -> pa.Table:
    """All verdicts as DEV_VERDICTS."""
    places = _places(everyone)
    judged = [(0 if cell is None else places[cell], rows) for cell, rows in run.verdicts.items()]
    rows = [{**row, "cell": place} for place, rows in (*judged, *enumerate(shuffled)) for row in rows]
    return pa.Table.from_pylist(rows, schema=DEV_VERDICTS)


def _places(everyone: Sequence[Candidate]) -> list[int]:
    """The number of each candidate among those of its method."""
    seen: Counter[str] = Counter()
    places = []
    for candidate in everyone:
        places.append(seen[candidate.method])
        seen[candidate.method] += 1
    return places


def _cells(run: Race, hopes: Foretold, everyone: Sequence[Candidate]) -> list[dict[str, Any]]:
    """What is known of every candidate: rates on the conversations that it was judged on, and why it left."""
    return [
        {
            "method": one.method,
            "cell": one.cell,
            "foretold": hopes.rates[number],
            "judged": len(run.verdicts.get(number, ())),
            "left": run.left.get(number, "") if number in run.verdicts else "margin",
            **_rates(run.verdicts.get(number, ())),
        }
        for number, one in enumerate(everyone)
    ]


def _rates(rows: Rows) -> dict[str, Any]:
    if not rows:
        return {"target_rate": None, "utility": {}, "protected": {}}
    return {name: value for name, value in asdict(cell_score({}, rows)).items() if name != "cell"}
