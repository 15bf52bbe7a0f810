"""Sampling that does not depend on the batch, and a guard against scores that are no numbers.

Shape suffixes: B batch, C row of a part of the batch, V token of the vocabulary, N block of the vocabulary, S token of
a block, F random number.
"""

import hashlib
from collections.abc import Sequence
from math import inf, isqrt

import torch
from torch import Tensor

from mascing.errors import LogitsError

_CACHED = 2**18
"""Scores that a processor reads at once: more would leave its cache between one step of arithmetic and the next."""


class RowSampler:
    """Makes greedy decoding sample from the softmax of the scores divided by the temperature.

    The vocabulary is cut into about sqrt(V) blocks. Gumbel noise on the blocks' probabilities draws a block, and noise
    on the scores within it a token (Gumbel 1954), so a draw takes 2 sqrt(V) random numbers and not V. The noise of a
    row depends only on its name and the step. Steered and unsteered replies to a conversation therefore share it, which
    makes their comparison less noisy. ``generate`` calls this as a logits processor.
    """

    def __init__(self, names: Sequence[str], temperature: float) -> None:
        self._generators = [torch.Generator().manual_seed(seed_of(name)) for name in names]
        self._temperature = temperature

    def __call__(self, input_ids: Tensor, scores_BV: Tensor) -> Tensor:
        """Raise the score of the next token of each row to infinity, in place: ``generate`` hands over a copy."""
        del input_ids
        vocabulary = scores_BV.shape[1]
        size = isqrt(vocabulary)
        blocks_BN = self._log_sums(scores_BV, size)
        noise_BF = self._noise(blocks_BN.shape[1] + size).to(scores_BV.device)
        block_B1 = (blocks_BN + noise_BF[:, :-size]).argmax(dim=1, keepdim=True)
        tokens_BS = block_B1 * size + torch.arange(size, device=scores_BV.device)
        scores_BS = scores_BV.gather(1, tokens_BS.clamp(max=vocabulary - 1)).float() / self._temperature
        scores_BS = scores_BS.masked_fill(tokens_BS >= vocabulary, -inf)
        token_B1 = tokens_BS.gather(1, (scores_BS + noise_BF[:, -size:]).argmax(dim=1, keepdim=True))
        return scores_BV.scatter_(1, token_B1, inf)

    def _log_sums(self, scores_BV: Tensor, size: int) -> Tensor:
        """The logarithm of the sum of exp(score / temperature) of each block, float32 [B, N]; the last may be short."""
        whole = scores_BV.shape[1] // size * size
        sums = []
        for part_CV in scores_BV.split(max(1, _CACHED // scores_BV.shape[1]) if scores_BV.is_cpu else len(scores_BV)):
            divided_CV = part_CV.float() / self._temperature
            sums_CN = divided_CV[:, :whole].unflatten(1, (-1, size)).logsumexp(dim=2)
            rest_C1 = divided_CV[:, whole:].logsumexp(dim=1, keepdim=True)
            sums.append(torch.cat([sums_CN, rest_C1], dim=1))
        return torch.cat(sums)

    def _noise(self, n: int) -> Tensor:
        """Gumbel noise [B, n], drawn on the host so that every device has the same."""
        drawn = [torch.empty(n).exponential_(generator=generator) for generator in self._generators]
        return -torch.stack(drawn).log()


def refuse_nan(input_ids: Tensor, scores_BV: Tensor) -> Tensor:
    """The scores; raises LogitsError if any is NaN, of which greedy decoding would pick a token and say nothing.

    ``generate`` calls this as a logits processor.
    """
    del input_ids
    if scores_BV.amax(dim=1).isnan().any():  # a maximum is NaN if one of its numbers is
        raise LogitsError("the model's logits are NaN; load it in another dtype")
    return scores_BV


def seed_of(name: str) -> int:
    """The seed that a name stands for, below 2**56."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:7])
