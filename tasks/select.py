"""The select stage: every candidate judged on the dev split, one pick a method, and the control made of the best."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mascing.circuits import candidates as candidate_files
from mascing.circuits import random
from mascing.circuits.candidates import Candidate
from mascing.results import cell_score
from mascing.selection import CellScore, choose
from mascing.stages import StageOutput, read_shard
from mascing.storage import Storage
from schemas.config import RunConfig
from schemas.conversation import Conversation
from schemas.manifest import Manifest
from tasks.actors import Pool, Worker
from tasks.judged import judged_replies
from tasks.optimise import candidates_of, methods_of
from tasks.prepare import conversations_of
from tasks.stage import Body, StageRun, run_stage, steps

SELECTED = "selected.safetensors"

# Candidates an item: enough to share the rendering of the conversations, few enough to keep all workers at work.
_CANDIDATES = 4

# Shuffles of the best mask, of which the median is the control. Of 40 shuffles of a planted testbed's mask 5 moved the
# target by themselves.
_SHUFFLES = 5


def select(storage: Storage, config: RunConfig, prepared: Manifest, optimised: Manifest, *, pool: Pool) -> StageRun:
    """``selected.safetensors``: one candidate a method, `random` included.

    Facts: ``baseline`` and ``cells`` with their rates on the dev split, and ``picked``, the number of each method's
    cell among its own.
    """
    return run_stage(
        storage,
        "select",
        config.behaviour.name,
        identity={
            "judges": [config.behaviour.target, config.behaviour.utility, config.behaviour.protected],
            "max_new_tokens": config.generation.max_new_tokens,
            "gates": config.gates,
            "seed": config.seed,
        },
        inputs={"prepare": prepared, "optimise": optimised},
        body=lambda output: _select(output, storage, config, prepared, optimised, pool),
    )


def selected_of(storage: Storage, selected: Manifest) -> dict[str, Candidate]:
    """The selected candidate of each method."""
    return {one.method: one for one in candidate_files.from_bytes(read_shard(storage, selected, SELECTED))}


@dataclass(frozen=True)
class _Shared:
    config: RunConfig
    conversations: tuple[Conversation, ...]


def _select(
    output: StageOutput, storage: Storage, config: RunConfig, prepared: Manifest, optimised: Manifest, pool: Pool
) -> Body:
    found = {method: candidates_of(storage, optimised, method) for method in methods_of(optimised)}
    everyone = [candidate for candidates in found.values() for candidate in candidates]
    items: list[list[Candidate | None]] = [[None]]
    items += [list(everyone[start : start + _CANDIDATES]) for start in range(0, len(everyone), _CANDIDATES)]
    shared = _Shared(config, tuple(conversations_of(storage, prepared, "dev")))
    [baseline], *scored = pool.map(_score, shared, items, steps("select"))
    scores = [score for part in scored for score in part]
    by_method = {
        method: [score for score, candidate in zip(scores, everyone, strict=True) if candidate.method == method]
        for method in found
    }
    picked = {method: choose(baseline, cells, config.gates) for method, cells in by_method.items()}
    selected = [found[method][index] for method, index in picked.items()]
    best = _best(baseline, [by_method[method][index] for method, index in picked.items()], selected, config)
    selected.append(_control(best, shared, pool))
    facts = {"baseline": _fact(baseline), "cells": _cells(by_method), "picked": picked}
    shard = output.put(SELECTED, candidate_files.to_bytes(selected), len(selected))
    return Body([shard], rows_in=len(selected), facts=facts)


def _best(
    baseline: CellScore, scores: Sequence[CellScore], selected: Sequence[Candidate], config: RunConfig
) -> Candidate:
    """The pick that would win on dev; of equal ones the one with the fewest entries."""
    sparsest_first = sorted(range(len(selected)), key=lambda index: selected[index].mask.entries)
    won = choose(baseline, [scores[index] for index in sparsest_first], config.gates)
    return selected[sparsest_first[won]]


def _control(best: Candidate, shared: _Shared, pool: Pool) -> Candidate:
    """The typical shuffle of the best mask: the median of several on dev, since one draw can hit the circuit."""
    drawn = [random.shuffled(best, shared.config.seed + number) for number in range(_SHUFFLES)]
    scored = pool.map(_score, shared, [[one] for one in drawn], steps("select"))
    by_rate = sorted(range(_SHUFFLES), key=lambda number: scored[number][0].target_rate)
    return drawn[by_rate[_SHUFFLES // 2]]


def _score(worker: Worker, shared: _Shared, candidates: Sequence[Candidate | None]) -> list[CellScore]:
    """The dev rates of some candidates; None is the unsteered model."""
    masks = [("baseline", None) if one is None else (one.method, one.mask) for one in candidates]
    judged = judged_replies(worker, shared.config, shared.conversations, masks)
    return [cell_score({} if one is None else one.cell, rows) for one, rows in zip(candidates, judged, strict=True)]


def _cells(by_method: Mapping[str, Sequence[CellScore]]) -> list[dict[str, Any]]:
    return [{"method": method, **asdict(score)} for method, scores in by_method.items() for score in scores]


def _fact(score: CellScore) -> dict[str, Any]:
    return {name: value for name, value in asdict(score).items() if name != "cell"}
