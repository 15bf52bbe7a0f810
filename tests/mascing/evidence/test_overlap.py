"""What two masks share, and what chance would give."""

import random

import pytest
import torch

from mascing.evidence.overlap import overlap


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
