"""The two least-squares fits of a split layer: its router, and its down projection with the router active.

Shape suffixes: N token, H hidden, F neuron, E expert.
"""

import torch
from torch import Tensor

ROUTER_SPREAD = 0.03
"""Standard deviation of the router's logits: small, so that the weights of the selected experts stay near 1/k."""
_ROUTER_RIDGE, _DOWN_RIDGE = 1e-2, 1e-1


def fit_router(input_NH: Tensor, active_NF: Tensor, down_HF: Tensor, expert_F: Tensor, n_experts: int) -> Tensor:
    """Fit the router weight [E, H] by ridge regression on the log norm of each expert's output.

    The result is scaled to ROUTER_SPREAD. Each token's target omits the mean over the experts: selection does not
    depend on it, and the router has no constant to fit it.
    """
    norm_NE = torch.stack(
        [
            (active_NF[:, expert_F == expert] @ down_HF[:, expert_F == expert].T).norm(dim=1)
            for expert in range(n_experts)
        ],
        dim=1,
    )
    target_NE = norm_NE.clamp_min(1e-6).log()
    weight_HE = ridge(input_NH, target_NE - target_NE.mean(1, keepdim=True), _ROUTER_RIDGE)
    return weight_HE.T * (ROUTER_SPREAD / (input_NH @ weight_HE).std(correction=0).clamp_min(1e-6))


def gains(input_NH: Tensor, router_EH: Tensor, top_k: int) -> Tensor:
    """Return the factor by which the mixture scales each expert's output, [N, E]: k times its weight, 0 if off."""
    weight_NE = torch.softmax(input_NH @ router_EH.T, dim=1)
    selected = weight_NE.topk(top_k, dim=1)
    gain_NK = top_k * selected.values / selected.values.sum(1, keepdim=True)
    return torch.zeros_like(weight_NE).scatter(1, selected.indices, gain_NK)


def refit_down(routed_NF: Tensor, wanted_NH: Tensor, down_HF: Tensor) -> Tensor:
    """Refit the down projection [H, F] to the wanted output of the routed neurons, close to the dense projection."""
    missing_NH = wanted_NH - routed_NF @ down_HF.T
    return down_HF + ridge(routed_NF, missing_NH, _DOWN_RIDGE).T


def ridge(inputs: Tensor, targets: Tensor, penalty: float) -> Tensor:
    """Solve least squares with a ridge ``penalty`` in units of the inputs' mean square."""
    gram = inputs.T @ inputs
    gram.diagonal().add_(penalty * gram.diagonal().mean())
    solution: Tensor = torch.linalg.solve(gram, inputs.T @ targets)
    return solution
