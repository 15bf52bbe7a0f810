"""The surrogate as a function of the shift alone: what the traces determine is computed once, which saves most time.

With u = z - mean(z) and d = delta - mean(delta) over the experts, LayerNorm and projection of z + delta are
``(W' u + W' d) / sqrt(var(z) + 2 cov(z, delta) + var(delta) + eps) + const`` with W' = W * gamma. Only the covariance
depends on both, and no [N, T, L, E] tensor is allocated. Gradients are written out, because autograd's
temporaries cost more time than the arithmetic.
Shape suffixes: C shift (one search each), P token (packed: step by step, and in each the samples that reach it, longest
first), L MoE layer, E expert, D embedding, K gate, H hidden, Q token of one shift (P * C), N sample.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mascing.surrogates.surrogate import Surrogate
from mascing.traces.trace_set import TraceSet

CHUNK_TOKENS = 4096


@dataclass(frozen=True)
class Statistics:
    """The statistics of traces that a shift of their logits needs; ``rows`` counts the samples at each token step."""

    centred_PLE: Tensor
    variance_LP: Tensor
    rows: list[int]

    def __len__(self) -> int:
        return self.rows[0]


def statistics_of(traces: TraceSet) -> list[Statistics]:
    """Statistics of the samples in chunks of similar length, about CHUNK_TOKENS tokens each."""
    order = traces.offsets.diff().argsort(descending=True, stable=True)
    ends = traces.offsets.diff()[order].cumsum(0)
    chunk_N = (ends - 1) // CHUNK_TOKENS
    return [_statistics(traces, order[chunk_N == chunk]) for chunk in chunk_N.unique()]


def _statistics(traces: TraceSet, chosen: Tensor) -> Statistics:
    first, count = traces.offsets[chosen], traces.offsets[chosen + 1] - traces.offsets[chosen]
    steps = torch.arange(int(count[0]))[:, None]
    reached_TN = steps < count
    centred_PLE = traces.z[(first + steps)[reached_TN]].float()
    centred_PLE -= centred_PLE.mean(dim=2, keepdim=True)
    return Statistics(centred_PLE, centred_PLE.square().mean(dim=2).T.contiguous(), reached_TN.sum(dim=1).tolist())


class FoldedSurrogate:
    """A trained surrogate with frozen weights, evaluated on traces with shifted logits."""

    def __init__(self, surrogate: Surrogate, traces: Sequence[Statistics]) -> None:
        weights = surrogate.state_dict()
        hidden, embedding = surrogate.lstm.hidden_size, surrogate.project.out_features
        self.project_DE = weights["project.weight"] * weights["norm.weight"]
        constant_D = weights["project.weight"] @ weights["norm.bias"] + weights["project.bias"]
        inputs_KLD = weights["lstm.weight_ih_l0"].view(4 * hidden, -1, embedding)
        biases_K = weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]
        self.bias_K = biases_K + (inputs_KLD @ constant_D).sum(dim=1)
        self.inputs_DLxK = inputs_KLD.permute(2, 1, 0).reshape(-1, 4 * hidden)
        self.recurrent_KHH = weights["lstm.weight_hh_l0"].view(4, hidden, hidden)
        self.head_H, self.head_bias = weights["head.weight"][0], weights["head.bias"]
        self.epsilon = surrogate.norm.eps
        self._traces = [(chunk, self._projected(chunk)) for chunk in traces]

    def logits(self, delta_CLE: Tensor) -> Tensor:
        """Logit of the positive class of every sample under every shift, [C, N], differentiable by the shift.

        Samples are in the order of the chunks, and by length within a chunk.
        """
        logits: list[Tensor] = [_Logits.apply(delta_CLE, self, *chunk) for chunk in self._traces]
        return torch.cat(logits, dim=1)

    def _projected(self, chunk: Statistics) -> Tensor:
        flat_DPL = (self.project_DE @ chunk.centred_PLE.flatten(0, 1).T).unflatten(1, chunk.centred_PLE.shape[:2])
        own_DLP: Tensor = flat_DPL.transpose(1, 2).contiguous()
        return own_DLP


class _Logits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, delta_CLE: Tensor, folded: FoldedSurrogate, chunk: Statistics, own_DLP: Tensor) -> Tensor:
        n_shifts, _, n_experts = delta_CLE.shape
        shift_CLE = delta_CLE - delta_CLE.mean(dim=2, keepdim=True)
        covariance_LCP = torch.bmm(shift_CLE.transpose(0, 1), chunk.centred_PLE.permute(1, 2, 0)) / n_experts
        variance_LCP = chunk.variance_LP[:, None] + 2 * covariance_LCP + shift_CLE.square().mean(dim=2).T[..., None]
        scale_LCP = variance_LCP.add_(folded.epsilon).rsqrt_()
        shift_DLC = (shift_CLE @ folded.project_DE.T).permute(2, 1, 0).contiguous()
        embedded_DLCP = (own_DLP[:, :, None] + shift_DLC[..., None]).mul_(scale_LCP)
        gates_CPxK = torch.addmm(folded.bias_K, embedded_DLCP.flatten(2).flatten(0, 1).T, folded.inputs_DLxK)
        gates_KQH = (
            gates_CPxK.view(n_shifts, -1, 4, len(folded.head_H)).permute(2, 1, 0, 3).reshape(4, -1, len(folded.head_H))
        )
        last_QH, cells_QH, squashed_QH = _run(gates_KQH, folded.recurrent_KHH, [rows * n_shifts for rows in chunk.rows])
        ctx.save_for_backward(shift_CLE, scale_LCP, embedded_DLCP, gates_KQH, cells_QH, squashed_QH)
        ctx.folded, ctx.chunk = folded, chunk
        logits_Q: Tensor = last_QH @ folded.head_H + folded.head_bias
        return logits_Q.view(-1, n_shifts).T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        shift_CLE, scale_LCP, embedded_DLCP, gates_KQH, cells_QH, squashed_QH = ctx.saved_tensors
        folded, chunk = ctx.folded, ctx.chunk
        n_shifts, _, n_experts = shift_CLE.shape
        d_last_QH = grads[0].T.reshape(-1, 1) * folded.head_H
        rows = [rows * n_shifts for rows in chunk.rows]
        d_gates_KQH = _run_backward(d_last_QH, gates_KQH, cells_QH, squashed_QH, folded.recurrent_KHH, rows)
        d_gates_CPxK = d_gates_KQH.unflatten(1, (-1, n_shifts)).permute(2, 1, 0, 3).flatten(2).flatten(0, 1)
        d_embedded_DLCP = (folded.inputs_DLxK @ d_gates_CPxK.T).view(embedded_DLCP.shape)
        d_shift_DLC = torch.einsum("dlcp,lcp->dlc", d_embedded_DLCP, scale_LCP)
        # The scale's gradient is sum(d_embedded * embedded) / scale, the variance's that times -scale^3 / 2.
        d_variance_LCP = (d_embedded_DLCP * embedded_DLCP).sum(dim=0).mul_(scale_LCP).mul_(scale_LCP).mul_(-0.5)
        d_shift_CLE = d_shift_DLC.permute(2, 1, 0) @ folded.project_DE
        d_shift_CLE += torch.bmm(d_variance_LCP, chunk.centred_PLE.transpose(0, 1)).transpose(0, 1) * (2 / n_experts)
        d_shift_CLE += d_variance_LCP.sum(dim=2).T[..., None] * shift_CLE * (2 / n_experts)
        return d_shift_CLE - d_shift_CLE.mean(dim=2, keepdim=True), None, None, None


def _run(gates_KQH: Tensor, recurrent_KHH: Tensor, rows: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Run the LSTM over packed tokens: each row's last state, and every step's cell and its tanh.

    ``gates_KQH`` (input, forget, cell, output) holds the inputs' part and is overwritten with the gates' values. A row
    that has ended is not changed again, so that its last state stays.
    """
    into_KHH = recurrent_KHH.transpose(1, 2).contiguous()
    n_gates, n_tokens, hidden = gates_KQH.shape
    state_NH = gates_KQH.new_zeros(rows[0], hidden)
    cells_QH, squashed_QH = gates_KQH.new_empty(2, n_tokens, hidden)
    start, before_NH = 0, state_NH
    for n in rows:
        step_KNH, cell_NH, squashed_NH = (
            gates_KQH[:, start : start + n],
            cells_QH[start : start + n],
            squashed_QH[start : start + n],
        )
        if start:
            step_KNH.baddbmm_(state_NH[:n].expand(n_gates, n, hidden), into_KHH)
        admit, keep, new, show = step_KNH.unbind()
        step_KNH[:2].sigmoid_()
        new.tanh_()
        show.sigmoid_()
        torch.mul(admit, new, out=cell_NH)
        if start:
            cell_NH.addcmul_(keep, before_NH[:n])
        torch.mul(show, torch.tanh(cell_NH, out=squashed_NH), out=state_NH[:n])
        start, before_NH = start + n, cell_NH
    return state_NH, cells_QH, squashed_QH


def _run_backward(
    d_last_NH: Tensor, gates_KQH: Tensor, cells_QH: Tensor, squashed_QH: Tensor, recurrent_KHH: Tensor, rows: list[int]
) -> Tensor:
    """Gradient for the inputs' part of the gates, [K, Q, H], from that for the last states; overwrites the gates."""
    d_state_NH, d_cell_NH = d_last_NH.clone(), torch.zeros_like(d_last_NH)
    spare_NH = torch.empty_like(d_last_NH)
    end = cells_QH.shape[0]
    for step in reversed(range(len(rows))):
        n, start = rows[step], end - rows[step]
        step_KNH, squashed = gates_KQH[:, start:end], squashed_QH[start:end]
        admit, keep, new, show = step_KNH.unbind()
        d_state, d_cell, spare = d_state_NH[:n], d_cell_NH[:n], spare_NH[:n]
        torch.mul(d_state, show, out=spare)
        d_cell += spare
        d_cell.addcmul_(spare, squashed * squashed, value=-1)
        torch.addcmul(show, show, show, value=-1, out=show).mul_(d_state).mul_(squashed)
        torch.mul(d_cell, admit, out=spare)
        torch.addcmul(admit, admit, admit, value=-1, out=admit).mul_(new).mul_(d_cell)
        torch.addcmul(spare, spare, new * new, value=-1, out=new)
        if step:
            torch.mul(d_cell, keep, out=spare)
            before = start - rows[step - 1]
            torch.addcmul(keep, keep, keep, value=-1, out=keep).mul_(d_cell).mul_(cells_QH[before : before + n])
            d_cell.copy_(spare)
            torch.sum(torch.bmm(step_KNH, recurrent_KHH), dim=0, out=d_state)
        else:
            keep.zero_()
        end = start
    return gates_KQH
