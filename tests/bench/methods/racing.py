"""Racing against the full grid: replays from stored verdicts compare the picks on the test split.

    mascing demo --seed 0 --storage runs/0 && python -m tests.bench.methods.racing runs/0

judges the full grid of a finished run once (minutes; the result is a file beside the run) and replays the selection on
resampled groups of dev. The grid has mascing's four lambdas x eight alphas, and the run's own grids of other methods.
"""

import argparse
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mascing.engines.generation import complete, prompts_of
from mascing.evidence.results import changes_by_set
from mascing.judges.judging import judge_all
from mascing.masks.candidates import Candidate
from mascing.masks.mask import Mask
from mascing.models.loading import load
from mascing.runs.finished_run import RunInputs, read_inputs
from mascing.runs.readers import candidates_of, conversations_of
from mascing.runs.run_folder import find_run
from mascing.schemas.config import RunConfig, SelectionConfig
from mascing.schemas.conversation import Conversation, Message, Split
from mascing.schemas.finished import Labelled, Optimised
from mascing.selection.margin import Forced, contenders, forced, forced_batches, forced_rates, worst_loss
from mascing.selection.racing import Cell, Rows, blocks_of, race
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from tests.mascing.mask_rules import bias_of

ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
READ = 0.25
SPLITS: tuple[Split, ...] = ("dev", "test")


def grid(storage: Storage, inputs: RunInputs) -> list[Candidate]:
    """The candidates of a run, with mascing's masks at alpha 1 scaled to eight alphas."""
    candidates = candidates_of(storage, read_manifest(storage, inputs.stages["optimise"], Optimised))
    cells = [candidate for candidate in candidates if candidate.method in ("steermoe", "gradient")]
    for candidate in candidates:
        if (
            candidate.method == "mascing"
            and candidate.cell["alpha"] == 1
            and candidate.cell["span"] == "question+prompt"
        ):
            for alpha in ALPHAS:
                mask = Mask.from_bias(alpha * bias_of(candidate.mask), candidate.mask.spec, {})
                cells.append(Candidate("mascing", {**candidate.cell, "alpha": alpha}, mask))
    return cells


def judged(storage: Storage) -> dict[str, Any]:
    """The data for replays: verdicts of every cell on dev and test, likelihoods by cell and group of dev."""
    inputs = read_inputs(storage, find_run(storage).folder)
    config = inputs.run_config
    cells, loaded = grid(storage, inputs), load(config.model)
    masks = [None, *(candidate.mask for candidate in cells)]
    labelled = read_manifest(storage, inputs.stages["label"], Labelled)
    stored: dict[str, Any] = {
        "methods": [candidate.method for candidate in cells],
        "config": config.model_dump(mode="json"),
    }
    for split in SPLITS:
        conversations = conversations_of(storage, labelled, split)
        prompts = prompts_of(loaded, conversations, config.generation)
        replies = [complete(loaded, prompts, mask, config.generation) for mask in masks]
        outcomes = [
            [verdict.outcome for verdict in judge_all(config.behaviour, conversations, replies_to_all)]
            for replies_to_all in replies
        ]
        stored[split] = {
            "asked": [(conversation.id, conversation.group_id, conversation.set) for conversation in conversations],
            "outcomes": outcomes,
        }
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for conversation in conversations_of(storage, labelled, "dev"):
        groups[conversation.group_id].append(conversation)
    stored["forced"] = [{} for _ in masks]
    for group, members in groups.items():
        batches = forced_batches(loaded, members, config.generation.batch_size)
        for likelihoods, mask in zip(stored["forced"], masks, strict=True):
            reading = forced(loaded, batches, mask)
            likelihoods[group] = {"margins": reading.margins, "kept": reading.kept}
    return stored


@dataclass(frozen=True)
class Replay:
    """One replay: the two picks of each method, and the share of the full grid's generations (``all``: all methods)."""

    picks: Mapping[str, tuple[int, int]]
    shares: Mapping[str, float]


def replay(stored: Mapping[str, Any], seed: int) -> Replay:
    """Select by the full grid and by racing, on groups of dev drawn with replacement in each set."""
    config, selection = RunConfig.model_validate(stored["config"]), SelectionConfig()
    conversations = resampled(stored["dev"]["asked"], seed)
    place = {conversation_id: index for index, (conversation_id, _, _) in enumerate(stored["dev"]["asked"])}

    def judge(cells: Sequence[Cell], block: Sequence[Conversation]) -> list[Rows]:
        return [
            [row(conversation, stored["dev"]["outcomes"][0 if cell is None else cell + 1]) for conversation in block]
            for cell in cells
        ]

    def row(conversation: Conversation, outcomes: Sequence[str]) -> dict[str, str]:
        outcome = outcomes[place[conversation.id.partition("/")[2]]]
        return {
            "conversation_id": conversation.id,
            "group_id": conversation.group_id,
            "set": conversation.set,
            "outcome": outcome,
        }

    [sample] = blocks_of(conversations, (READ,), seed)
    drawn = sorted({conversation.group_id for conversation in sample})
    baseline, *steered = [
        together([likelihoods[name.partition("/")[2]] for name in drawn]) for likelihoods in stored["forced"]
    ]
    rates = [forced_rates(baseline, likelihoods) for likelihoods in steered]
    cells = {
        name: [n for n, method in enumerate(stored["methods"]) if method == name]
        for name in sorted(set(stored["methods"]))
    }
    entrants = {
        name: [ours[n] for n in contenders([rates[cell] for cell in ours], selection.keep)]
        for name, ours in cells.items()
    }
    losses = {cell: worst_loss(rates_by_set) for cell, rates_by_set in enumerate(rates)}
    full = race(cells, [conversations], judge, config.gates, {})
    raced = race(entrants, blocks_of(conversations, selection.blocks, seed), judge, config.gates, losses)
    spent = {cell: len(rows) for cell, rows in raced.verdicts.items()}
    shares = {
        name: (spent[None] + sum(spent.get(cell, 0) for cell in ours)) / ((len(ours) + 1) * len(conversations))
        for name, ours in {**cells, "all": [cell for ours in cells.values() for cell in ours]}.items()
    }
    return Replay({name: (full.picked[name], raced.picked[name]) for name in cells}, shares)


def resampled(rows: Sequence[Sequence[str]], seed: int) -> list[Conversation]:
    """The groups of each set resampled with replacement, in a new order; a group drawn twice counts as two groups."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for conversation_id, group, name in rows:
        groups[name][group].append(conversation_id)
    rng, turn = random.Random(seed), (Message(role="user", content="-"),)
    drawn = [
        Conversation(id=f"{copy}/{conversation_id}", group_id=f"{copy}/{group}", set=name, messages=turn)
        for name, members in sorted(groups.items())
        for copy, group in enumerate(rng.choices(sorted(members), k=len(members)))
        for conversation_id in members[group]
    ]
    rng.shuffle(drawn)
    return drawn


def together(parts: Sequence[Mapping[str, Any]]) -> Forced:
    """The likelihoods of several groups, concatenated."""
    kept: dict[str, list[float]] = defaultdict(list)
    for part in parts:
        for name, values in part["kept"].items():
            kept[name] += values
    return Forced([margin for part in parts for margin in part["margins"]], kept)


def table(stored: Mapping[str, Any], replays: Sequence[Replay]) -> Iterator[str]:
    """One line per method: the two picks compared on the test split, and the cost of racing."""
    rows = [
        [
            {"conversation_id": conversation_id, "group_id": group, "set": name, "outcome": outcome}
            for (conversation_id, group, name), outcome in zip(stored["test"]["asked"], outcomes, strict=True)
            if name == "target"
        ]
        for outcomes in stored["test"]["outcomes"]
    ]
    pairs = {pair for replayed in replays for pair in replayed.picks.values()}
    changes = {(full, raced): changes_by_set(rows[full + 1], rows[raced + 1])["target"] for full, raced in pairs}
    yield "method    cells  within noise  not below it  same cell  mean difference  worst  generations (most)"
    for name in replays[0].picks:
        differences = [changes[replayed.picks[name]] for replayed in replays]
        shares = [replayed.shares[name] for replayed in replays]
        yield (
            f"{name:9} {stored['methods'].count(name):5}"
            f"  {fmean(change.low <= 0 <= change.high for change in differences):12.3f}"
            f"  {fmean(change.high >= 0 for change in differences):12.3f}"
            f"  {fmean(replayed.picks[name][0] == replayed.picks[name][1] for replayed in replays):9.2f}"
            f"  {fmean(change.value for change in differences):+15.4f}"
            f"  {min(change.value for change in differences):+5.3f}"
            f"  {fmean(shares):.3f} ({max(shares):.3f})"
        )
    shares = [replayed.shares["all"] for replayed in replays]
    yield f"all       {len(stored['methods']):5}  generations {fmean(shares):.3f} (at most {max(shares):.3f})"


def main() -> None:
    """Print the table for each run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="storage folders of finished runs")
    parser.add_argument("--replays", type=int, default=200)
    options = parser.parse_args()
    for run in options.runs:
        file = run / "full-grid.json"
        if not file.exists():
            file.write_text(json.dumps(judged(Storage.open(str(run)))))
        stored = json.loads(file.read_text())
        print(f"{run}: {options.replays} replays, {len(stored['dev']['asked'])} dev conversations", flush=True)
        for line in table(stored, [replay(stored, seed) for seed in range(options.replays)]):
            print(line, flush=True)


if __name__ == "__main__":
    main()
