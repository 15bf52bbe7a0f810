"""How often the topic null flags an expert list or a surrogate: ``python -m tests.bench.topics.flags --seeds 20``.

Circuits of the behaviour and of topics are planted in made-up selections. A flag is wrong where the behaviour is real
and topics are balanced, and right where the label is a topic in disguise. With ``--cost`` it measures the time of the
expert list's null on a model of 48 layers of 128 experts.
"""

import argparse
import time

import numpy as np
import torch

from mascing.schemas.cards.topic_null import Topics
from mascing.topics.doubts import chance_doubts, class_doubts, list_doubts, score_doubts
from mascing.topics.experts import expert_null
from mascing.topics.score_nulls import score_null
from mascing.topics.splits import Contrast
from mascing.traces.trace_set import TraceSet, offsets
from tests.mascing.topics.planted_topics import LAYERS, Case, linear_scores, made

CASES = {
    "behaviour real, topics balanced": Case(),
    "behaviour real, no topic circuit": Case(topic=0),
    "behaviour real, 80 conversations": Case(conversations=80),
    "behaviour real, topics lean 65:35": Case(lean=0.65),
    "behaviour real but weak": Case(behaviour=0.3),
    "label is topic, 70:30": Case(behaviour=0, lean=0.7),
    "label is topic, 85:15": Case(behaviour=0, lean=0.85),
    "label is topic, 85:15, 80 conversations": Case(behaviour=0, lean=0.85, conversations=80),
    "label is topic alone": Case(behaviour=0, lean=1.0),
    "label is chance": Case(behaviour=0),
}


def _print_flags(seeds: int) -> None:
    print("| case | share of effect topic explains | list: topic | list: chance | surrogate | different topics |")
    print("|" + "---|" * 6)
    for name, case in CASES.items():
        shares, flags = [], []
        for seed in range(seeds):
            found, train, dev = made(case, seed)
            null = expert_null(train, found.train, found.topics, range(LAYERS))
            scores = score_null(linear_scores(train, dev), found.dev, found.topics)
            shares.append(null.topic.of_effect if null.topic else np.nan)
            flags.append(
                (
                    bool(list(list_doubts("", null))),
                    bool(list(chance_doubts("", null))),
                    bool(list(score_doubts("", scores))),
                    bool(list(class_doubts(found.topics))),
                )
            )
        counted = " | ".join(f"{count} of {seeds}" for count in np.sum(flags, axis=0))
        print(f"| {name} | {np.nanmedian(shares):.2f} | {counted} |", flush=True)


def _print_cost(layers: int = 48, experts: int = 128, top_k: int = 8, count: int = 2000, tokens: int = 60) -> None:
    rng = np.random.default_rng(0)
    labels, topics = np.arange(count) % 2, rng.integers(8, size=count)
    names = [str(number) for number in range(count)]
    traces = TraceSet(
        z=torch.zeros(count * tokens, 0, experts, dtype=torch.half),
        offsets=offsets([tokens] * count),
        labels=torch.from_numpy(labels),
        regions=torch.zeros(count * tokens, dtype=torch.uint8),
        ids=names,
        groups=names,
        selected=torch.randint(experts, (count * tokens, layers, top_k), dtype=torch.uint8),
    )
    start = time.process_time()
    null = expert_null(traces, Contrast(labels, topics, names), Topics(count=8), range(layers))
    splits = null.random.splits + (null.topic.splits if null.topic else 0)
    print(f"\n{count} conversations of {tokens} tokens, {splits} splits: {time.process_time() - start:.1f} s of CPU")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--cost", action="store_true")
    asked = parser.parse_args()
    if asked.cost:
        _print_cost()
    else:
        _print_flags(asked.seeds)
