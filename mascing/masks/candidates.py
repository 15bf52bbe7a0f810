"""A candidate mask: a method's proposal for one cell of its grid, before any reply is judged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mascing.errors import DataError
from mascing.masks.mask import Mask
from mascing.masks.rules import TENSORS, rule_of
from mascing.routers.spec import RouterSpec


@dataclass(frozen=True)
class Candidate:
    """One mask of ``method``; ``cell`` holds its hyper-parameters as JSON values."""

    method: str
    cell: dict[str, Any]
    mask: Mask


def to_bytes(candidates: Sequence[Candidate]) -> bytes:
    """All candidates in one safetensors file; equal candidates give equal bytes."""
    tensors = {"described": _description(candidates)}
    for number, candidate in enumerate(candidates):
        for name, tensor in candidate.mask.rule.tensors.items():
            tensors[f"{number}.{name}"] = tensor.contiguous()
    return bytes(save(tensors))


def from_bytes(data: bytes) -> list[Candidate]:
    """Inverse of :func:`to_bytes`; raises DataError for any other bytes."""
    try:
        tensors = load(data)
        descriptions = json.loads(tensors.pop("described").numpy().tobytes())
        return [_candidate(number, facts, tensors) for number, facts in enumerate(descriptions)]
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"not a file of candidate masks: {error}; run the optimise stage again") from error


def _description(candidates: Sequence[Candidate]) -> Tensor:
    # JSON bytes as a tensor, because safetensors' `load` drops the metadata of a file.
    facts = [
        {
            "method": candidate.method,
            "cell": candidate.cell,
            "spec": candidate.mask.spec.to_json(),
            "epsilon": candidate.mask.rule.epsilon,
            "provenance": candidate.mask.provenance,
        }
        for candidate in candidates
    ]
    return torch.frombuffer(bytearray(json.dumps(facts, sort_keys=True, allow_nan=False).encode()), dtype=torch.uint8)


def _candidate(number: int, facts: dict[str, Any], tensors: dict[str, Tensor]) -> Candidate:
    rule_tensors = {name: tensors[key] for name in TENSORS if (key := f"{number}.{name}") in tensors}
    mask = Mask(RouterSpec.from_json(facts["spec"]), rule_of(rule_tensors, facts["epsilon"]), facts["provenance"])
    return Candidate(facts["method"], facts["cell"], mask)
