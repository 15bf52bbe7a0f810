"""The activation pattern of an ensemble: which experts the routers prefer where the surrogates see the behaviour.

The weights of a classifier, and a search through them, say what tells the classes apart with the least effort. Many
different directions do so equally well, and each seed finds another one. What goes along with the classifier's
*output* is the same for all of them: the covariance of inputs and output, the classifier's activation pattern.
Source: Haufe et al., On the interpretation of weight vectors of linear models in multivariate neuroimaging, 2014.
Shape suffixes: M member of the ensemble, N sample, L MoE layer, E expert.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mascing.surrogates.surrogate import Surrogate, score
from mascing.traces.trace_set import Traces, TraceSet


def patterns(members: Sequence[Surrogate], traces: Traces) -> Tensor:
    """Return the correlation of each expert's mean logit with each member's output, float32 [M, L, E].

    Both are taken over the samples of ``traces``, of both classes. The output is squashed by tanh, because logits grow
    with the certainty of a member and say nothing more about the behaviour. An expert whose logit never changes, and
    every expert under a member that gives all samples the same output, has correlation 0.
    """
    z_NLE = torch.cat([_means(part) for part in traces.parts()])
    output_MN = torch.stack([score(member, traces) for member in members]).tanh()
    standard_NLE, standard_MN = _standard(z_NLE, dim=0), _standard(output_MN, dim=1)
    return torch.einsum("mn,nle->mle", standard_MN, standard_NLE) / len(z_NLE)


def consensus(patterns_MLE: Tensor) -> Tensor:
    """Return the mean pattern, [L, E], with 0 where the members do not all agree on the sign."""
    signs_MLE = patterns_MLE.sign()
    return torch.where((signs_MLE == signs_MLE[0]).all(dim=0), patterns_MLE.mean(dim=0), 0.0)


def agreement(patterns_MLE: Tensor) -> float:
    """Return the mean cosine of the patterns of two members; 1 for a single member."""
    unit_MF = torch.nn.functional.normalize(patterns_MLE.flatten(1), dim=1)
    cosines_MM = unit_MF @ unit_MF.T
    above = torch.ones_like(cosines_MM).triu(diagonal=1).bool()
    return float(cosines_MM[above].mean()) if above.any() else 1.0


def _means(part: TraceSet) -> Tensor:
    """Return the mean logits of each sample over its tokens, float32 [N, L, E]."""
    counts_N = part.offsets.diff()
    samples_T = torch.arange(len(part)).repeat_interleave(counts_N)
    sums_NLE = torch.zeros(len(part), *part.z.shape[1:]).index_add_(0, samples_T, part.z.float())
    return sums_NLE / counts_N[:, None, None]


def _standard(values: Tensor, dim: int) -> Tensor:
    """Return ``values`` with mean 0 and standard deviation 1 along ``dim``; 0 where they do not vary."""
    centred = values - values.mean(dim=dim, keepdim=True)
    spread = centred.square().mean(dim=dim, keepdim=True).sqrt()
    return torch.where(spread > 1e-6, centred / spread.clamp(min=1e-6), 0.0)
