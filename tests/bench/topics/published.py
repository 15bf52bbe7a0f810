"""Published contrasts beside published topics: ``python -m tests.bench.topics.published OLMOE STEERMOE``.

``OLMOE`` is a checkout of github.com/allenai/OLMoE, whose routing counts by domain (layers 0, 7 and 15 of OLMoE-1B-7B)
give topics, and before and after preference tuning give what tuning moves. ``STEERMOE`` is one of
github.com/adobe-research/SteerMoE, whose activation tables hold the risk differences of two contrasts on the same
architecture. The files are pickles, and nothing that they name is run.
"""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np

from mascing.masks.foreign.frame_pickle import columns_of
from tests.external.published import counters_of

_DOMAINS = ("arxiv", "book", "c4", "github", "wikipedia", "tulu")
_LAYERS, _EXPERTS, _TOP_K, _LISTED = (0, 7, 15), 64, 8, 50
_COUNTS = "scripts/routing_output/{}/expert_counts/{}.pkl"
_TABLE = "activations/activations_[allenai--OLMoE-1B-7B-0125-Instruct]_[{}].pkl"


def _rates(path: Path) -> np.ndarray:
    """The share of tokens that selected each expert, [3, 64]."""
    counts = np.array(
        [[layer.get(expert, 0) for expert in range(_EXPERTS)] for layer in counters_of(path.read_bytes())], float
    )
    rates: np.ndarray = _TOP_K * counts / counts.sum(axis=1, keepdims=True)
    return rates


def _print(olmoe: Path, steermoe: Path) -> None:
    rates = [_rates(olmoe / _COUNTS.format("olmoe", domain)) for domain in _DOMAINS]
    pairs = np.abs([a - b for a, b in combinations(rates, 2)])
    tuned = np.abs(np.subtract(*(_rates(olmoe / _COUNTS.format(f"olmoe-{at}", "tulu")) for at in ("sft", "dpo"))))
    ratios = pairs.mean(axis=(0, 2)) / tuned.mean(axis=1)
    print(f"topic moves selection {pairs.mean() / tuned.mean():.0f} times as much as preference tuning", end="")
    print(f" (by layer {', '.join(f'{ratio:.0f}' for ratio in ratios)})")
    print("| contrast | of the 50 strongest below the quantile of all | of the 50 of those layers below their own |")
    print("|---|---|---|")
    for name in ("safety", "faithfulness"):
        table = columns_of((steermoe / _TABLE.format(name)).read_bytes())
        size = np.zeros((16, _EXPERTS))
        size[table["layer"], table["expert"]] = np.abs(table["risk_diff"])
        of_all = np.sort(size, axis=None)[-_LISTED:] <= np.quantile(pairs, 0.95)
        here = size[list(_LAYERS)].ravel()
        listed = np.argsort(here)[-_LISTED:]
        own = here[listed] <= np.quantile(pairs.reshape(len(pairs), -1)[:, listed], 0.95, axis=0)
        print(f"| {name} | {of_all.mean():.0%} | {own.mean():.0%} |")


if __name__ == "__main__":
    _print(Path(sys.argv[1]), Path(sys.argv[2]))
