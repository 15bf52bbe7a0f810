"""The paper's surrogate: it predicts behaviour from the routing trace of a conversation.

Shape suffixes: N sample, T token, L MoE layer, E expert, D embedding, H hidden.
"""

from collections.abc import Mapping
from typing import cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from mascing.errors import DataError
from mascing.traces.trace_set import Traces, shuffled_batches

EMBEDDING = 16
HIDDEN = 64
LEARNING_RATE = 0.01
BATCH = 64
"""The published scripts use 512, which gives a few hundred traces only one step per epoch."""
SCORING_BATCH = 256


class Surrogate(nn.Module):
    """LayerNorm over E, one projection E -> 16 for all layers, an LSTM over the tokens, one logit per sample.

    Source: MASCing (arXiv 2604.27818), the surrogate model.
    """

    def __init__(self, n_experts: int, n_layers: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(n_experts)
        self.project = nn.Linear(n_experts, EMBEDDING)
        self.lstm = nn.LSTM(n_layers * EMBEDDING, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 1)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and the inputs must be."""
        return self.head.bias.device

    def forward(self, z_NTLE: Tensor, mask_NT: Tensor) -> Tensor:
        """Logit of the positive class, [N], read after the last real token of each right-padded row."""
        embedded_NTD = self.project(self.norm(z_NTLE)).flatten(start_dim=2)
        # A padded LSTM that is read at the last real token equals a packed one and is twice as fast to differentiate.
        states_NTH, _ = self.lstm(embedded_NTD)
        last_N = mask_NT.sum(dim=1) - 1
        last_NH = states_NTH[torch.arange(len(last_N), device=last_N.device), last_N]
        return cast(Tensor, self.head(last_NH)).squeeze(-1)


def train_surrogate(traces: Traces, epochs: int, seed: int, device: torch.device | str = "cpu") -> Surrogate:
    """The surrogate fitted to ``traces`` on ``device``, by BCE and Adam; on the CPU equal inputs give equal weights.

    Raises DataError unless both classes are present.
    """
    n_layers, n_experts = _shape_of_both_classes(traces)
    surrogate = untrained(n_experts, n_layers, seed).to(device)
    optimizer = torch.optim.Adam(surrogate.parameters(), lr=LEARNING_RATE)
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for part, batch in shuffled_batches(traces, BATCH, order, device):
            logits = surrogate(*part.padded(batch))
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(logits, part.labels[batch].to(device).float()).backward()
            optimizer.step()
    return surrogate.eval()


def untrained(n_experts: int, n_layers: int, seed: int) -> Surrogate:
    """A surrogate with initial weights; equal seeds give equal weights."""
    # Modules draw their weights from the global generator, so its state is restored.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Surrogate(n_experts, n_layers)


def score(surrogate: Surrogate, traces: Traces) -> Tensor:
    """Logit of the positive class for every sample in order, float32 [N], computed where the surrogate is."""
    with torch.no_grad():
        return torch.cat(
            [
                surrogate(*part.padded(batch)).cpu()
                for part in (part.on(surrogate.device) for part in traces.parts())
                for batch in torch.arange(len(part)).split(SCORING_BATCH)
            ]
        )


def to_bytes(surrogate: Surrogate, metadata: Mapping[str, str] | None = None) -> bytes:
    """The weights as safetensors, with ``metadata`` in the header; equal weights give equal bytes."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in surrogate.state_dict().items()}
    return bytes(save(weights, None if metadata is None else dict(metadata)))


def from_bytes(data: bytes) -> Surrogate:
    """Inverse of :func:`to_bytes`; raises DataError for any other bytes."""
    try:
        state = load(data)
        surrogate = Surrogate(state["norm.weight"].shape[0], state["lstm.weight_ih_l0"].shape[1] // EMBEDDING)
        surrogate.load_state_dict(state)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise DataError(f"not a surrogate: {error}; run the train stage again") from error
    return surrogate.eval()


def _shape_of_both_classes(traces: Traces) -> tuple[int, int]:
    """L and E of the traces, which must hold both classes."""
    classes: set[int] = set()
    for part in traces.parts():
        classes |= set(part.labels.tolist())
        if classes == {0, 1}:
            return part.z.shape[1], part.z.shape[2]
    raise DataError("a surrogate needs positive and negative traces: the training split has one class only")
