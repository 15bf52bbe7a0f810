"""The search results of a synthetic run: grids with their rates on dev, and the surrogates' cards."""

from itertools import combinations
from typing import Any

from mascing.schemas.cards.surrogate_card import SurrogateCard
from mascing.schemas.cards.topic_null import ExpertNull
from mascing.schemas.facts import SelectFacts
from mascing.schemas.result import MaskAgreement, Overlap, Rate, SeedRates, SeedScatter, SingleExpert, Trust

SEEDS = [
    {"search_seed": seed, "cell": cell, "judged": 40, "target_rate": hits / 40}
    for seed, cell, hits in ((0, 5, 39), (1, 2, 20), (2, 4, 38))
]
"""The best cells of three search seeds of `gradient`."""


def cells_of(method: str) -> list[dict[str, Any]]:
    if method == "mascing":
        return [
            {"span": span, "lambda": weight, "alpha": alpha}
            for span in ("question", "question+prompt")
            for weight in (0.0, 1e-5, 1e-4, 1e-3)
            for alpha in (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
        ]
    if method == "steermoe":
        counts = [(on, off) for on in (0, 2, 4, 8) for off in (0, 2, 4, 8)]
        return [{"span": "question+prompt", "n_activated": on, "n_deactivated": off} for on, off in counts if on + off]
    if method == "gradient":
        return [{"l1": weight, "alpha": alpha} for weight in (1e-3, 1e-2) for alpha in (0.5, 1.0, 1.5)]
    if method in ("shift", "tilt"):
        return [
            {"sides": sides, "depth": depth, "reach": reach, "seed": 0}
            for sides in (["left"], ["left", "right"])
            for depth in (1, 2, None)
            for reach in (0.1, 0.2, 0.4, 0.8)
        ]
    return [{"of": "gradient", "l1": 1e-2, "alpha": 1.5, "seed": 0}]


def expert_null() -> ExpertNull:
    """Four listed experts, of which topic moves three as much as the behaviour does."""
    topic = {"splits": 28, "below": 0.75, "of_effect": 0.7, "own": 0.3, "weaker": 0.5}
    return ExpertNull.model_validate(
        {
            "effect": 0.2,
            "listed": [
                {"layer": 1, "expert": number, "risk_difference": 0.2, "topic": limit, "random": 0.05}
                for number, limit in enumerate((0.3, 0.3, 0.3, 0.1))
            ],
            "topics": {"count": 8, "overlap": 0.9, "by_chance": 0.8},
            "topic": topic,
            "random": topic | {"splits": 50, "below": 0.0, "of_effect": 0.0, "own": 0.06, "weaker": 1.0},
        }
    )


def selection_facts(searched: list[str]) -> SelectFacts:
    cells = []
    for method in searched:
        for number, cell in enumerate(cells_of(method)):
            strength = number / len(cells_of(method))
            rates = {"utility": {"benign": 1 - 0.4 * strength**2}, "protected": {"forbidden": 0.97}}
            race = {"judged": 76, "left": "", "foretold": {"target": 0.5 + 0.4 * strength}}
            cells.append({"method": method, "cell": cell, "target_rate": 0.5 + 0.45 * strength, **rates, **race})
    return SelectFacts.model_validate(
        {
            "baseline": {"target_rate": 0.51, "utility": {"benign": 1.0}, "protected": {"forbidden": 0.97}},
            "cells": cells,
            "picked": {method: len(cells_of(method)) - 1 for method in searched},
            "sparsified": {},
            "scatter": {"gradient": SEEDS} if "gradient" in searched else {},
            "order": searched[::-1],
            "cost": {
                "replies": 4000,
                "replies_of_full_grid": 9000,
                "replies_of_control": 300,
                "replies_of_pruning": 0,
                "prefill_tokens": 10_000,
                "budget": 4500,
            },
        }
    )


def dev_verdicts() -> list[dict[str, Any]]:
    """The verdicts on dev behind `SEEDS`."""
    return [
        {
            "method": "gradient",
            "cell": seed["cell"],
            "conversation_id": f"dev-{number}",
            "group_id": f"dev-{number}",
            "set": "target",
            "outcome": "hit" if number < 40 * seed["target_rate"] else "miss",
        }
        for seed in SEEDS
        for number in range(40)
    ]


def dev_unsteered() -> list[dict[str, Any]]:
    """The unsteered model's verdicts on the conversations of `dev_verdicts`: every other one is a hit."""
    return [
        {
            "method": "baseline",
            "conversation_id": f"dev-{number}",
            "group_id": f"dev-{number}",
            "set": "target",
            "reply": "sorry no key",
            "cut_off": False,
            "outcome": "miss" if number % 2 else "hit",
            "reason": "made up",
        }
        for number in range(40)
    ]


def trust_of(searched: list[str]) -> Trust:
    """Of five search seeds, `mascing` finds the best with two and `gradient` with all; every two picks share a bit."""
    scatter = {"mascing": [0.9, 0.5, 0.86, 0.55, 0.5], "gradient": [0.98, 0.97, 0.98, 0.96, 0.97]}
    within = {"mascing": 2, "gradient": 5}
    return Trust(
        seeds={
            method: SeedScatter(
                judged=76,
                within_noise=within[method],
                seeds=tuple(_seed(number, rate, scatter[method][0]) for number, rate in enumerate(scatter[method])),
            )
            for method in scatter
            if method in searched
        },
        agreement=tuple(
            MaskAgreement(
                methods=pair,
                full=Overlap(entries=(20, 12), shared=5, opposed=2, jaccard=5 / 27, by_chance=0.08),
                pruned=Overlap(entries=(4, 3), shared=2, opposed=0, jaccard=0.4, by_chance=0.02),
            )
            for pair in combinations(searched, 2)
        ),
        single={method: (SingleExpert(layer=2, expert=5, share=0.84),) for method in searched if method == "gradient"},
    )


def _seed(number: int, rate: float, best: float) -> SeedRates:
    behind = Rate(value=rate - best, low=rate - best - 0.08, high=rate - best + 0.08, n=40, unscored=0)
    return SeedRates(
        search_seed=number,
        target_rate=rate,
        utility={"benign": 1 - rate / 20},
        protected={},
        behind=behind if number else None,
        uplift=Rate(value=rate - 0.5, low=rate - 0.65, high=rate - 0.35, n=40, unscored=0),
    )


def surrogate_card(span: str) -> SurrogateCard:
    area = 0.97 if span == "question" else 0.93
    fpr = [number / 40 for number in range(41)]
    turns, control = ({"value": value, "low": value - 0.1, "high": value + 0.1, "n": 40} for value in (0.58, 0.49))
    card = {
        "accuracy": area - 0.04,
        "auc": {"value": area, "low": area - 0.05, "high": 0.99, "n": 40, "unscored": 0},
        "members": [area, area - 0.01],
        "roc": {"fpr": fpr, "tpr": [x ** (1 / area - 1) for x in fpr]},
        "calibration": {
            "temperature": 1.4,
            "error": 0.03,
            "error_before": 0.08,
            "points": [
                {"predicted": share, "observed": {"value": share, "low": 0.0, "high": 1.0, "n": 20, "unscored": 0}}
                for share in (0.1, 0.9)
            ],
        },
        "trivial": {"turns": {"auc": turns | {"unscored": 0}, "lead": turns | {"unscored": 0}}},
        "control": control | {"unscored": 0},
        "explained_by": [],
    }
    return SurrogateCard.model_validate(card)
