"""Several surrogates in place of one: equal in all but their seeds, so that a search cannot live off the quirks of one.

Shape suffixes: M member, N sample.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mascing.surrogate import Surrogate, score
from mascing.traces import Traces

_STRIDE = 1_000_003


def member_seeds(seed: int, members: int) -> list[int]:
    """The seed of each member; that of the first is ``seed``, and runs of nearby seeds share none."""
    return [seed + _STRIDE * member for member in range(members)]


def ensemble_score(members: Sequence[Surrogate], traces: Traces) -> Tensor:
    """Logit of the positive class for every sample, the mean over the members, float32 [N]."""
    scores_MN = torch.stack([score(member, traces) for member in members])
    return scores_MN.mean(dim=0)
