"""The biases on router logits under which a level's model is trained.

Shapes: B batch, L MoE layer, E expert.
"""

import torch
from torch import Tensor

from mascing.testbeds.planted.circuit import Circuit
from mascing.testbeds.planted.drills import Batch
from mascing.testbeds.planted.levels import Steering

_PART = 0.4
"""Share of the circuit that is biased in a sample that learns that a part does not suffice."""


def biases(batch: Batch, circuit: Circuit) -> Tensor:
    """Return each sample's bias [B, L, E] in units of sigma; random ones have the norm of the circuit's."""
    truth_LE = circuit.truth_LE
    shape_BLE = (len(batch.steerings), *truth_LE.shape)
    order_BN = torch.rand(shape_BLE[0], truth_LE.numel()).argsort(1)
    directions_BLE: dict[Steering, Tensor] = {
        "guard": truth_LE.expand(shape_BLE),
        "yield": -truth_LE.expand(shape_BLE),
        "shuffled": truth_LE.flatten()[order_BN].view(shape_BLE),
        "dense": torch.randn(shape_BLE) * truth_LE.square().mean().sqrt(),
    }
    if "part" in batch.steerings or "lure" in batch.steerings:
        sign_B11 = torch.randint(0, 2, (shape_BLE[0], 1, 1)) * 2.0 - 1
        by_layer_B = torch.rand(shape_BLE[0]) < 0.5
        places_BLE = torch.where(by_layer_B[:, None, None], torch.rand(*shape_BLE[:2], 1), torch.rand(shape_BLE))
        directions_BLE["part"] = sign_B11 * truth_LE * (places_BLE < _PART)
        directions_BLE["lure"] = sign_B11 * circuit.lures_LE
    bias_BLE = torch.zeros(shape_BLE)
    for steering, direction_BLE in directions_BLE.items():
        bias_BLE += direction_BLE * (batch.strength_B * batch.steered_B(steering))[:, None, None]
    return bias_BLE
