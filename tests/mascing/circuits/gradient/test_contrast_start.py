"""The start of `refined`: where the routing of the two classes differs when the reply is decided."""

import pytest
import torch

from mascing.circuits.gradient.contrast_start import contrast_start
from mascing.errors import DataError
from mascing.traces.trace_set import PROMPT, QUESTION, TraceSet

LIFTED = (1, 3)
"""(layer, expert) that positive traces prefer at the generation prompt."""


def traces(*regions: int) -> TraceSet:
    """Four traces with tokens of these regions; question tokens differ between the classes everywhere."""
    n = len(regions)
    z_TLE = torch.zeros(4 * n, 2, 4, dtype=torch.float16)
    labels = torch.tensor([1, 0, 1, 0])
    region_T = torch.tensor(regions, dtype=torch.uint8).repeat(4)
    positive_T = labels.repeat_interleave(n) == 1
    z_TLE[positive_T & (region_T == QUESTION)] = 8.0
    z_TLE[(positive_T & (region_T == PROMPT)).nonzero().flatten(), LIFTED[0], LIFTED[1]] = 3.0
    return TraceSet(
        z=z_TLE,
        offsets=torch.arange(5) * n,
        labels=labels,
        regions=region_T,
        ids=list("abcd"),
        groups=list("aabb"),
        selected=torch.zeros(4 * n, 2, 2, dtype=torch.uint8),
    )


def test_it_is_the_difference_at_the_prompt_in_sigma() -> None:
    start_LE = contrast_start(traces(QUESTION, QUESTION, PROMPT), torch.tensor([1.0, 2.0]))
    expected_LE = torch.zeros(2, 4)
    expected_LE[LIFTED] = 1.5
    assert torch.equal(start_LE, expected_LE)


def test_a_template_without_a_prompt_is_refused() -> None:
    with pytest.raises(DataError, match="no token between question and reply"):
        contrast_start(traces(QUESTION), torch.ones(2))
