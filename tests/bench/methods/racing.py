"""Racing against the full grid: replays from stored verdicts, the picks compared on the test split.

    mascing demo --seed 0 --storage runs/0 && python -m tests.bench.methods.racing runs/0

judges the full grid of a finished run once (minutes; kept in a file beside the run) and replays the selection on
resampled groups of dev. The grid: mascing's four lambdas x eight alphas, and the run's own of the other methods.
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
from mascing.runs.finished_run import RunInputs
from mascing.runs.readers import candidates_of, conversations_of
from mascing.schemas.config import RunConfig, SelectionConfig
from mascing.schemas.conversation import Conversation, Message, Split
from mascing.schemas.finished import Optimised, Prepared
from mascing.selection.margin import Forced, contenders, forced, forced_batches, forced_rates, worst_loss
from mascing.selection.racing import Cell, Rows, blocks_of, race
from mascing.storage.manifests import read_manifest
from mascing.storage.object_storage import Storage
from tests.mascing.mask_rules import bias_of

ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
READ = 0.25
SPLITS: tuple[Split, ...] = ("dev", "test")


def grid(storage: Storage, inputs: RunInputs) -> list[Candidate]:
    """The candidates of a run, mascing's at eight alphas: its masks at alpha 1, scaled."""
    found = candidates_of(storage, read_manifest(storage, inputs.stages["optimise"], Optimised))
    cells = [one for one in found if one.method in ("steermoe", "gradient")]
    for one in found:
        if one.method == "mascing" and one.cell["alpha"] == 1 and one.cell["span"] == "question+prompt":
            for alpha in ALPHAS:
                mask = Mask.from_bias(alpha * bias_of(one.mask), one.mask.spec, {})
                cells.append(Candidate("mascing", {**one.cell, "alpha": alpha}, mask))
    return cells


def judged(storage: Storage) -> dict[str, Any]:
    """Everything that replays need: verdicts of every cell on dev and test, likelihoods by cell and group of dev."""
    inputs = RunInputs.model_validate_json(storage.read("report/inputs.json"))
    config = inputs.run_config
    cells, loaded = grid(storage, inputs), load(config.model)
    masks = [None, *(one.mask for one in cells)]
    prepared = read_manifest(storage, inputs.stages["prepare"], Prepared)
    stored: dict[str, Any] = {"methods": [one.method for one in cells], "config": config.model_dump(mode="json")}
    for split in SPLITS:
        asked = conversations_of(storage, prepared, split)
        prompts = prompts_of(loaded, asked, config.generation)
        replies = [complete(loaded, prompts, mask, config.generation) for mask in masks]
        outcomes = [[one.outcome for one in judge_all(config.behaviour, asked, some)] for some in replies]
        stored[split] = {"asked": [(one.id, one.group_id, one.set) for one in asked], "outcomes": outcomes}
    groups: dict[str, list[Conversation]] = defaultdict(list)
    for one in conversations_of(storage, prepared, "dev"):
        groups[one.group_id].append(one)
    stored["forced"] = [{} for _ in masks]
    for group, members in groups.items():
        batches = forced_batches(loaded, members, config.generation.batch_size)
        for told, mask in zip(stored["forced"], masks, strict=True):
            read = forced(loaded, batches, mask)
            told[group] = {"margins": read.margins, "kept": read.kept}
    return stored


@dataclass(frozen=True)
class Replay:
    """One replay: by method the two picks, and the share of the full grid's generations (``all``: of all methods)."""

    picks: Mapping[str, tuple[int, int]]
    shares: Mapping[str, float]


def replay(stored: Mapping[str, Any], seed: int) -> Replay:
    """Select by the full grid and by racing on groups of dev that are drawn with replacement, set by set."""
    config, selection = RunConfig.model_validate(stored["config"]), SelectionConfig()
    asked = resampled(stored["dev"]["asked"], seed)
    place = {one_id: index for index, (one_id, _, _) in enumerate(stored["dev"]["asked"])}

    def judge(cells: Sequence[Cell], block: Sequence[Conversation]) -> list[Rows]:
        return [
            [row(one, stored["dev"]["outcomes"][0 if cell is None else cell + 1]) for one in block] for cell in cells
        ]

    def row(one: Conversation, outcomes: Sequence[str]) -> dict[str, str]:
        outcome = outcomes[place[one.id.partition("/")[2]]]
        return {"conversation_id": one.id, "group_id": one.group_id, "set": one.set, "outcome": outcome}

    [sample] = blocks_of(asked, (READ,), seed)
    drawn = sorted({one.group_id for one in sample})
    baseline, *steered = [together([told[name.partition("/")[2]] for name in drawn]) for told in stored["forced"]]
    rates = [forced_rates(baseline, one) for one in steered]
    cells = {
        name: [n for n, one in enumerate(stored["methods"]) if one == name] for name in sorted(set(stored["methods"]))
    }
    entrants = {
        name: [ours[n] for n in contenders([rates[cell] for cell in ours], selection.keep)]
        for name, ours in cells.items()
    }
    losses = {cell: worst_loss(one) for cell, one in enumerate(rates)}
    full = race(cells, [asked], judge, config.gates, {})
    raced = race(entrants, blocks_of(asked, selection.blocks, seed), judge, config.gates, losses)
    spent = {cell: len(rows) for cell, rows in raced.verdicts.items()}
    shares = {
        name: (spent[None] + sum(spent.get(cell, 0) for cell in ours)) / ((len(ours) + 1) * len(asked))
        for name, ours in {**cells, "all": [cell for ours in cells.values() for cell in ours]}.items()
    }
    return Replay({name: (full.picked[name], raced.picked[name]) for name in cells}, shares)


def resampled(asked: Sequence[Sequence[str]], seed: int) -> list[Conversation]:
    """As many groups of each set as there are, drawn with replacement, in a new order; a group twice is two groups."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one_id, group, name in asked:
        groups[name][group].append(one_id)
    rng, turn = random.Random(seed), (Message(role="user", content="-"),)
    drawn = [
        Conversation(id=f"{copy}/{one_id}", group_id=f"{copy}/{group}", set=name, messages=turn)
        for name, members in sorted(groups.items())
        for copy, group in enumerate(rng.choices(sorted(members), k=len(members)))
        for one_id in members[group]
    ]
    rng.shuffle(drawn)
    return drawn


def together(read: Sequence[Mapping[str, Any]]) -> Forced:
    """The likelihoods of several groups as one."""
    kept: dict[str, list[float]] = defaultdict(list)
    for one in read:
        for name, values in one["kept"].items():
            kept[name] += values
    return Forced([margin for one in read for margin in one["margins"]], kept)


def table(stored: Mapping[str, Any], replays: Sequence[Replay]) -> Iterator[str]:
    """A line a method: how the two picks compare on the test split, and what racing cost."""
    rows = [
        [
            {"conversation_id": one_id, "group_id": group, "set": name, "outcome": outcome}
            for (one_id, group, name), outcome in zip(stored["test"]["asked"], outcomes, strict=True)
            if name == "target"
        ]
        for outcomes in stored["test"]["outcomes"]
    ]
    pairs = {pair for one in replays for pair in one.picks.values()}
    changes = {(full, raced): changes_by_set(rows[full + 1], rows[raced + 1])["target"] for full, raced in pairs}
    yield "method    cells  within noise  not below it  same cell  mean difference  worst  generations (most)"
    for name in replays[0].picks:
        found = [changes[one.picks[name]] for one in replays]
        shares = [one.shares[name] for one in replays]
        yield (
            f"{name:9} {stored['methods'].count(name):5}  {fmean(one.low <= 0 <= one.high for one in found):12.3f}"
            f"  {fmean(one.high >= 0 for one in found):12.3f}"
            f"  {fmean(one.picks[name][0] == one.picks[name][1] for one in replays):9.2f}"
            f"  {fmean(one.value for one in found):+15.4f}  {min(one.value for one in found):+5.3f}"
            f"  {fmean(shares):.3f} ({max(shares):.3f})"
        )
    shares = [one.shares["all"] for one in replays]
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
