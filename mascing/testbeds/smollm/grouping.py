"""Group the neurons of a feed-forward layer into experts.

Shape suffixes: N token, F neuron, E expert, D random feature.
"""

import torch
from torch import Tensor

_FEATURES = 256
_ROUNDS = 8


def coactivation_groups(strength_NF: Tensor, n_experts: int, seed: int) -> Tensor:
    """Return the expert of each neuron, int64 [F], by balanced k-means on when neurons are active.

    ``strength_NF`` is the size of each neuron's contribution to each token. Only the pattern over tokens counts, not
    the average strength of a neuron. All experts get the same number of neurons. Raises ValueError if that is
    impossible.
    """
    n_neurons = strength_NF.shape[1]
    if n_neurons % n_experts:
        raise ValueError(f"{n_neurons} neurons cannot be divided equally among {n_experts} experts")
    generator = torch.Generator().manual_seed(seed)
    pattern_FD = _patterns(strength_NF, generator)
    centre_ED = pattern_FD[torch.randperm(n_neurons, generator=generator)[:n_experts]]
    for _ in range(_ROUNDS):
        expert_F = _balanced(pattern_FD @ centre_ED.T)
        sum_ED = torch.zeros_like(centre_ED).index_add_(0, expert_F, pattern_FD)
        centre_ED = torch.nn.functional.normalize(sum_ED, dim=1)
    return expert_F


def _patterns(strength_NF: Tensor, generator: torch.Generator) -> Tensor:
    """Return a unit vector per neuron; their products approximate the correlations of the neurons' log strengths."""
    log_NF = (strength_NF + 1e-3 * strength_NF.mean(0)).log()
    centred_NF = log_NF - log_NF.mean(0)
    directions_DN = torch.randn(_FEATURES, len(centred_NF), generator=generator)
    return torch.nn.functional.normalize((directions_DN @ centred_NF).T, dim=1)


def _balanced(similarity_FE: Tensor) -> Tensor:
    """Assign each neuron to the most similar expert with room; neurons with the most to lose choose first."""
    room = [similarity_FE.shape[0] // similarity_FE.shape[1]] * similarity_FE.shape[1]
    regret_F = similarity_FE.amax(1) - similarity_FE.mean(1)
    expert_F = torch.empty(len(similarity_FE), dtype=torch.long)
    preferences = similarity_FE.argsort(dim=1, descending=True).tolist()
    for neuron in regret_F.argsort(descending=True).tolist():
        expert = next(expert for expert in preferences[neuron] if room[expert])
        room[expert] -= 1
        expert_F[neuron] = expert
    return expert_F
