"""Sampling that does not depend on the batch, and a guard against scores that are no numbers.

Shape suffixes: B batch, V token of the vocabulary.
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from mascing.errors import DataError


class RowSampler:
    """Makes greedy decoding sample: adds Gumbel noise to the scores divided by the temperature.

    The token with the highest sum is a draw from the softmax of the scores (Gumbel 1954). The noise of a row depends
    only on its name and the step. Steered and unsteered replies to a conversation therefore share it, which makes their
    comparison less noisy. ``generate`` calls this as a logits processor.
    """

    def __init__(self, names: Sequence[str], temperature: float) -> None:
        self._generators = [torch.Generator().manual_seed(_seed(name)) for name in names]
        self._temperature = temperature

    def __call__(self, input_ids: Tensor, scores_BV: Tensor) -> Tensor:
        """The scores with the noise of the next step."""
        noise_BV = torch.stack([self._noise(generator, scores_BV.shape[1]) for generator in self._generators])
        return scores_BV.float() / self._temperature + noise_BV.to(scores_BV.device)

    def _noise(self, generator: torch.Generator, size: int) -> Tensor:
        return -torch.empty(size).exponential_(generator=generator).log()


def refuse_nan(input_ids: Tensor, scores_BV: Tensor) -> Tensor:
    """The scores; raises DataError if any is NaN, of which greedy decoding would pick a token and say nothing.

    ``generate`` calls this as a logits processor.
    """
    del input_ids
    if scores_BV.isnan().any():
        raise DataError("the model's logits are NaN; load it in another dtype")
    return scores_BV


def _seed(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:7])
