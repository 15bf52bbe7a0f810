"""What a worker of vLLM answers to ``collective_rpc``, by name. All arguments and answers are plain values or bytes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mascing.masks.mask import Mask


def spec(runner: Any) -> dict[str, Any]:
    """The routers of the model, once it is proved that masks act on them."""
    runner.mascing.prove()
    description: dict[str, Any] = runner.mascing.spec.to_json()
    return description


def write(runner: Any, slot: int, mask: bytes) -> None:
    """Put a mask into a slot, in the form of ``Mask.to_bytes``."""
    runner.mascing.slots.write(slot, Mask.from_bytes(mask))


def proof(runner: Any, lengths: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """What was steered of each request: ``steered``, tokens by depth of the layer, ``cached``, and ``selected``.

    ``lengths`` are the numbers of tokens of each that count, from the first of the prompt on.
    """
    proofs: dict[str, dict[str, Any]] = runner.mascing.steps.proofs(lengths)
    return proofs


def selected(runner: Any) -> dict[int, list[int]]:
    """How often the unsteered tokens of the last step selected each expert, by depth of the layer."""
    counts: dict[int, list[int]] = runner.mascing.steps.selected()
    return counts


def recorded(runner: Any, requests: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The router logits float32 [T, L, E] and selected experts int32 [T, L, K] of requests that were recorded."""
    taken = (runner.mascing.steps.take(name) for name in requests)
    return [(z_TLE.numpy(), ids_TLK.numpy()) for z_TLE, ids_TLK in taken]


METHODS: Mapping[str, Callable[..., Any]] = {
    "mascing_spec": spec,
    "mascing_write": write,
    "mascing_proof": proof,
    "mascing_selected": selected,
    "mascing_recorded": recorded,
}
