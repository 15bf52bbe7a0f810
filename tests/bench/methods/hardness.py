"""What makes a level of the testbed hard, measured on its trained models.

    OMP_NUM_THREADS=1 python -m tests.bench.methods.hardness --level 2 --seeds 0 1 2 --folder testbeds

Prints a row of rates for each mask: none, the circuit at several strengths, half of it, lures, and dense random ones.
Shape suffixes: T token, L MoE layer, E expert, K selected.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from mascing.circuits.steermoe.risk_difference import count_selections
from mascing.conversations.splits import split_of
from mascing.engines.generation import generate
from mascing.judges.judging import judge_all
from mascing.masks.mask import Mask
from mascing.masks.precision import map_precision
from mascing.models.loading import load
from mascing.routers.spec import inspect_routers
from mascing.schemas.config import GenerationConfig, ModelConfig, SplitConfig
from mascing.schemas.conversation import Conversation
from mascing.testbeds.planted import BEHAVIOURS, behaviour_config, build, conversations
from mascing.testbeds.planted.circuit import Circuit, choose_experts
from mascing.testbeds.planted.levels import LEVELS
from mascing.traces.batch_recording import harvest
from mascing.traces.shards import decode, encode

DENSE_DRAWS = 5
_STRENGTHS = (1.0, -1.0, 3.0, -3.0)


class Bed:
    """A trained testbed: its model, its conversations by split, and the spread of its router logits."""

    def __init__(self, level: int, seed: int, folder: Path) -> None:
        """Load the testbed from ``folder``."""
        self.level, self.seed, self.folder = level, seed, folder
        self.loaded = load(ModelConfig(path=str(folder)))
        self.spec = inspect_routers(self.loaded.model)
        self.circuit: Circuit = choose_experts(LEVELS[level], seed)
        train = [row for row in self._split("train") if row.set == "target"]
        recorded = harvest(self.loaded, train, batch_tokens=4096)
        self.traces = decode([encode(recorded, self.spec)])
        self.sigma_L = self.traces.sigma()
        self.test = self._split("test")

    def rates(self, steering_LE: Tensor | None) -> dict[str, float]:
        """Rates of hits on the test split by set, for jailbreak defence, under a mask in units of sigma."""
        mask = None if steering_LE is None else Mask.from_bias(steering_LE * self.sigma_L[:, None], self.spec)
        replies = generate(self.loaded, self.test, mask, GenerationConfig(max_new_tokens=12, batch_size=128))
        hits: dict[str, list[bool]] = defaultdict(list)
        behaviour = behaviour_config(BEHAVIOURS[0], str(self.folder), self.level)
        for row, verdict in zip(self.test, judge_all(behaviour, self.test, replies), strict=True):
            hits[row.set].append(verdict.outcome == "hit")
        return {name: fmean(values) for name, values in hits.items()}

    def risk_difference_precision(self) -> float:
        """Circuit precision of the plain risk difference."""
        counts = count_selections(self.traces.span("question+prompt"))
        return map_precision(counts.risk_difference(), self.circuit.truth_LE)

    def _split(self, split: str) -> list[Conversation]:
        rows = conversations(BEHAVIOURS[0], self.seed, self.level)
        return [row for row in rows if split_of(row.group_id, SplitConfig()) == split]


def part_of(truth_LE: Tensor, share: float, draw: int) -> Tensor:
    """A random part of the circuit: this share of its entries."""
    places = truth_LE.flatten().nonzero().flatten()
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(draw))
    kept = torch.zeros(truth_LE.numel())
    kept[places[order[: round(share * len(places))]]] = 1
    return truth_LE * kept.view_as(truth_LE)


def dense(truth_LE: Tensor, draw: int) -> Tensor:
    """A dense random mask of one sigma."""
    return torch.randn(truth_LE.shape, generator=torch.Generator().manual_seed(draw))


def _mean(rates: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: fmean(each[name] for each in rates) for name in rates[0]}


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", type=int, required=True, choices=sorted(LEVELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="testbeds to measure")
    parser.add_argument("--folder", type=Path, required=True, help="where the testbeds are, or are built")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| seed | mask | target | benign | prohibited |\n|---|---|---|---|---|")
    for seed in arguments.seeds:
        folder = arguments.folder / f"level-{arguments.level}-seed-{seed}"
        if not folder.exists():
            build(seed, folder, level=arguments.level)
        _measure(Bed(arguments.level, seed, folder))


def _measure(bed: Bed) -> None:
    truth_LE, lures_LE = bed.circuit.truth_LE, bed.circuit.lures_LE
    _print(bed, "none", bed.rates(None))
    for strength in _STRENGTHS:
        _print(bed, f"circuit x {strength:g}", bed.rates(strength * truth_LE))
    halves = [bed.rates(part_of(truth_LE, 0.5, draw)) for draw in range(3)]
    _print(bed, "half of the circuit, mean of 3 draws", _mean(halves))
    if lures_LE.any():
        _print(bed, "lures, mean of both directions", _mean([bed.rates(lures_LE), bed.rates(-lures_LE)]))
    drawn = [bed.rates(dense(truth_LE, draw)) for draw in range(DENSE_DRAWS)]
    _print(bed, f"dense random of 1 sigma, mean of {DENSE_DRAWS} draws", _mean(drawn))


def _print(bed: Bed, name: str, rates: dict[str, float]) -> None:
    values = [f"{100 * rates[set_name]:.1f}" for set_name in ("target", "utility/benign", "protected/prohibited")]
    print(f"| {bed.seed} | {name} | {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    main()
