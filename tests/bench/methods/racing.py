"""The whole selection against the full grid: replays compare the picks, pruned, on the test split.

    mascing demo --seed 0 --storage runs/0 && python -m tests.bench.methods.racing runs/0

judges the full grid of a finished run once (minutes) and replays race, pruning and ranking on resampled groups of dev;
the parts that pruning tries are judged when they come up. The result is a file beside the run. The grid has mascing's
four lambdas x eight alphas, and the run's own grids of other methods.
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mascing.evidence.results import changes_by_set
from mascing.masks.mask import Mask
from mascing.schemas.config import SelectionConfig
from mascing.schemas.conversation import Conversation, Message
from mascing.schemas.result import Rate
from mascing.selection.budget import Budget
from mascing.selection.forecast import READ, entrants, forecast
from mascing.selection.margin import Forced, forced_rates, worst_loss
from mascing.selection.parts import Places
from mascing.selection.pruning import Evidence, sparsify
from mascing.selection.racing import Cell, Rows, blocks_of, race, replies_of
from tests.bench.methods.full_grid import FullGrid, Likelihoods

LOOKS = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Replay:
    """One replay: each method's cell by the full grid, by racing, and the entries left of the latter.

    The shares are of the full grid's generations.
    """

    full: Mapping[str, int]
    raced: Mapping[str, int]
    pruned: Mapping[str, Places]
    race: float
    pruning: float
    ranking: float

    @property
    def share(self) -> float:
        """The share of all generations; the control takes none where given replies are read."""
        return self.race + self.pruning + self.ranking


def replay(grid: FullGrid, seed: int) -> Replay:
    """Select by the full grid and by racing, on groups of dev drawn with replacement in each set."""
    dev = Resampled(grid, seed)
    methods = [candidate.method for candidate in grid.candidates]
    cells = {name: [n for n, method in enumerate(methods) if method == name] for name in dict.fromkeys(methods)}
    selection, gates = SelectionConfig(), grid.config.gates
    fields = [(method, 0) for method in methods]
    foreseen = forecast(fields, dev.conversations, seed, dev.read)
    assert foreseen is not None
    losses = {cell: worst_loss(rates) for cell, rates in foreseen.rates.items()}
    full = race(cells, [dev.conversations], dev.judge, gates, {})
    budget = Budget(len(methods) * len(dev.conversations), racing=True)
    blocks = blocks_of(dev.conversations, selection.blocks, seed)
    running = entrants(fields, foreseen.running, foreseen.rates, selection.keep)
    raced = race(running, blocks, dev.judge, gates, losses, budget.race)
    spent = replies_of(raced.verdicts)
    left, pruning, ranking = budget.total - spent, 0, 0
    kept: dict[str, Places] = {}
    for number, (method, cell) in enumerate(raced.picked.items()):
        rows = raced.verdicts[cell]
        allowance = (left - pruning) // (len(cells) - number)
        judged = len(rows) if allowance >= len(rows) else len(blocks[0])
        kept[method], replies = dev.pruned(cell, rows[:judged], raced.verdicts[None][:judged], allowance)
        pruning += replies
        ranking += len(dev.conversations) - judged
    whole = budget.full
    ranked = ranking if ranking <= left - pruning else 0
    return Replay(full.picked, raced.picked, kept, spent / whole, pruning / whole, ranked / whole)


class Resampled:
    """Groups of dev resampled with replacement, and what is judged and read on them."""

    def __init__(self, grid: FullGrid, seed: int) -> None:
        self._grid, self._seed = grid, seed
        asked = grid.conversations["dev"]
        self.conversations = _resampled(asked, seed)
        self._place = {conversation.id: index for index, conversation in enumerate(asked)}

    def judge(self, cells: Sequence[Cell], block: Sequence[Conversation]) -> list[Rows]:
        """The rows of each cell."""
        return [self._rows(self._grid.outcomes("dev", cell), block) for cell in cells]

    def read(self, cells: Sequence[Cell], block: Sequence[Conversation]) -> list[Forced]:
        """The likelihoods under each cell."""
        drawn = sorted({conversation.group_id for conversation in block})
        return [_together(self._grid.forced(cell), drawn) for cell in cells]

    def pruned(self, cell: int, full: Rows, baseline: Rows, budget: int) -> tuple[Places, int]:
        """The entries that pruning leaves of a cell's mask, and the replies judged for it."""
        mask = self._grid.candidates[cell].mask
        [sample, *_] = blocks_of(self.conversations, (READ,), self._seed)
        drawn = sorted({conversation.group_id for conversation in sample})
        unsteered = _together(self._grid.forced(None), drawn)

        def judge(parts: Sequence[Mask], block: Sequence[Conversation]) -> list[Rows]:
            return [self._rows(self._grid.outcomes("dev", cell, _places(part)), block) for part in parts]

        def read(parts: Sequence[Mask]) -> list[dict[str, float]]:
            likelihoods = [_together(self._grid.forced(cell, _places(part)), drawn) for part in parts]
            return [forced_rates(unsteered, steered) for steered in likelihoods]

        asked = {row["conversation_id"] for row in full}
        blocks = blocks_of([row for row in self.conversations if row.id in asked], LOOKS, self._seed)
        evidence = Evidence(blocks, baseline, full, judge, max(budget, len(full)), read)
        smaller = sparsify(mask, mask.rule.strength_LE(self._grid.sigma_L), evidence, self._grid.config.gates)
        return _places(smaller.mask), smaller.replies

    def _rows(self, outcomes: Sequence[str], block: Sequence[Conversation]) -> Rows:
        return [
            {
                "conversation_id": conversation.id,
                "group_id": conversation.group_id,
                "set": conversation.set,
                "outcome": outcomes[self._place[conversation.id.partition("/")[2]]],
            }
            for conversation in block
        ]


def _places(mask: Mask) -> Places:
    return tuple(mask.rule.entries_LE.flatten().nonzero().flatten().tolist())


def _resampled(asked: Sequence[Conversation], seed: int) -> list[Conversation]:
    """The groups of each set resampled with replacement, in a new order; a group drawn twice counts as two groups."""
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for conversation in asked:
        groups[conversation.set][conversation.group_id].append(conversation.id)
    rng, turn = random.Random(seed), (Message(role="user", content="-"),)
    drawn = [
        Conversation(id=f"{copy}/{conversation_id}", group_id=f"{copy}/{group}", set=name, messages=turn)
        for name, members in sorted(groups.items())
        for copy, group in enumerate(rng.choices(sorted(members), k=len(members)))
        for conversation_id in members[group]
    ]
    rng.shuffle(drawn)
    return drawn


def _together(by_group: Mapping[str, Likelihoods], drawn: Sequence[str]) -> Forced:
    """The likelihoods of several groups, concatenated."""
    parts: list[Likelihoods] = [by_group[name.partition("/")[2]] for name in drawn]
    return sum((Forced(part["margins"], part["kept"]) for part in parts), Forced([], {}))


def table(grid: FullGrid, replays: Sequence[Replay]) -> Iterator[str]:
    """One line per method: the full grid's pick against the pruned one on the test split; then the cost."""
    yield "method    cells  within noise  not below it  same cell  mean difference  worst  entries, before -> after"
    for name, of_method in _by_method(grid).items():
        differences = [_change(grid, one.full[name], one.raced[name], one.pruned[name]) for one in replays]
        before = fmean(grid.candidates[one.raced[name]].mask.entries for one in replays)
        yield (
            f"{name:9} {of_method:5}"
            f"  {fmean(change.low <= 0 <= change.high for change in differences):12.3f}"
            f"  {fmean(change.high >= 0 for change in differences):12.3f}"
            f"  {fmean(one.full[name] == one.raced[name] for one in replays):9.2f}"
            f"  {fmean(change.value for change in differences):+15.4f}"
            f"  {min(change.value for change in differences):+5.3f}"
            f"  {before:.1f} -> {fmean(len(one.pruned[name]) for one in replays):.1f}"
        )
    shares: dict[str, list[float]] = {
        "race": [one.race for one in replays],
        "pruning": [one.pruning for one in replays],
        "ranking": [one.ranking for one in replays],
        "all": [one.share for one in replays],
    }
    yield "generations: " + ", ".join(f"{name} {fmean(of):.3f} (at most {max(of):.3f})" for name, of in shares.items())


def _by_method(grid: FullGrid) -> dict[str, int]:
    methods = [candidate.method for candidate in grid.candidates]
    return {name: methods.count(name) for name in dict.fromkeys(methods)}


def _change(grid: FullGrid, full: int, raced: int, kept: Places) -> Rate:
    before, after = (_targets(grid, grid.outcomes("test", *key)) for key in ((full,), (raced, kept)))
    return changes_by_set(before, after)["target"]


def _targets(grid: FullGrid, outcomes: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"conversation_id": row.id, "group_id": row.group_id, "set": row.set, "outcome": outcome}
        for row, outcome in zip(grid.conversations["test"], outcomes, strict=True)
        if row.set == "target"
    ]


def main() -> None:
    """Print the table for each run that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="storage folders of finished runs")
    parser.add_argument("--replays", type=int, default=50)
    options = parser.parse_args()
    for run in options.runs:
        grid = FullGrid(run, run / "full-grid.json")
        replays = []
        for seed in range(options.replays):
            replays.append(replay(grid, seed))
            grid.save()
        print(f"{run}: {options.replays} replays, {len(grid.conversations['dev'])} dev conversations", flush=True)
        for line in table(grid, replays):
            print(line, flush=True)
        grid.save()


if __name__ == "__main__":
    main()
