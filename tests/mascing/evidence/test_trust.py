"""What a run's own data say about its methods: the scatter of search seeds, and the overlap of masks."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from mascing.evidence.overlap import overlap
from mascing.evidence.seed_scatter import far_apart, seed_scatter
from mascing.schemas.facts import SeedPick


def rows(hits: Sequence[bool]) -> list[Mapping[str, Any]]:
    """Verdicts on target conversations, each its own group, and one of a utility set that must not count."""
    target = [
        {"conversation_id": f"t{n}", "group_id": f"t{n}", "set": "target", "outcome": "hit" if hit else "miss"}
        for n, hit in enumerate(hits)
    ]
    other = {"conversation_id": "u", "group_id": "u", "set": "utility/benign", "outcome": "miss"}
    return [*target, other]


def pick(seed: int, cell: int, hits: Sequence[bool]) -> SeedPick:
    return SeedPick(search_seed=seed, cell=cell, judged=len(hits), target_rate=sum(hits) / len(hits))


def test_seeds_within_noise_of_the_best_are_counted() -> None:
    hits = {3: [True] * 34 + [False] * 6, 7: [True] * 36 + [False] * 4, 8: [True] * 18 + [False] * 22}
    picks = [pick(seed, cell, hits[cell]) for seed, cell in enumerate(hits)]
    scatter = seed_scatter(picks, {cell: rows(each) for cell, each in hits.items()})
    assert [seed.within_noise for seed in scatter.seeds] == [True, True, False]
    assert (scatter.within_noise, scatter.judged) == (2, 40)
    close, best, far = (seed.behind for seed in scatter.seeds)
    assert best is None
    assert close is not None
    assert close.value == pytest.approx(-0.05)
    assert far is not None
    assert far.value == pytest.approx(-0.45)


def test_seeds_are_compared_on_the_conversations_that_all_were_judged_on() -> None:
    """The best seed went on to 20 conversations more, all of them misses."""
    best, other = [True] * 20, [True] * 20
    scatter = seed_scatter([pick(0, 0, best), pick(1, 1, other)], {0: rows([*best, *[False] * 20]), 1: rows(other)})
    behind = scatter.seeds[1].behind
    assert behind is not None
    assert (behind.value, behind.n) == (0.0, 20)


@pytest.mark.parametrize(("hits", "apart"), [(8, True), (10, False)])
def test_seeds_that_few_conversations_cannot_tell_apart_are_told(hits: int, apart: bool) -> None:
    verdicts = [[True] * 11 + [False], [True] * hits + [False] * (12 - hits)]
    scatter = seed_scatter(
        [pick(seed, seed, each) for seed, each in enumerate(verdicts)], dict(enumerate(map(rows, verdicts)))
    )
    assert scatter.within_noise == 2
    assert far_apart(scatter) == apart


def test_an_entry_is_shared_only_in_its_direction() -> None:
    a_LE = torch.tensor([[1.0, -0.5, 0.0, 2.0], [0.0, 0.0, 3.0, 0.0]])
    b_LE = torch.tensor([[0.1, 0.5, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
    found = overlap(a_LE, b_LE)
    assert (found.entries, found.shared, found.opposed) == ((4, 4), 2, 1)
    assert found.jaccard == pytest.approx(2 / 6)


def test_masks_without_entries_share_nothing() -> None:
    found = overlap(torch.zeros(2, 4), torch.zeros(2, 4))
    assert (found.jaccard, found.by_chance) == (0.0, 0.0)


def test_chance_is_what_shuffles_within_layers_give() -> None:
    generator = random.Random(0)
    a = [[1] * 4 + [-1] * 2 + [0] * 10, [1] * 6 + [0] * 10]
    b = [[1] * 3 + [-1] * 5 + [0] * 8, [-1] * 4 + [0] * 12]

    def shuffled(mask: list[list[int]]) -> torch.Tensor:
        return torch.tensor([generator.sample(layer, len(layer)) for layer in mask], dtype=torch.float32)

    drawn = [overlap(shuffled(a), shuffled(b)) for _ in range(400)]
    assert len({found.by_chance for found in drawn}) == 1
    assert drawn[0].by_chance == pytest.approx(sum(found.jaccard for found in drawn) / len(drawn), abs=0.01)
