"""A candidate mask: what a method proposes, under the name of a cell of its grid, before any reply was judged."""

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
    """One mask of ``method``; ``cell`` holds the hyper-parameters that made it, JSON values only."""

    method: str
    cell: dict[str, Any]
    mask: Mask


def to_bytes(candidates: Sequence[Candidate]) -> bytes:
    """All candidates in one safetensors file; equal candidates give equal bytes."""
    tensors = {"described": _described(candidates)}
    for number, candidate in enumerate(candidates):
        for name, tensor in candidate.mask.rule.tensors.items():
            tensors[f"{number}.{name}"] = tensor.contiguous()
    return bytes(save(tensors))


def from_bytes(data: bytes) -> list[Candidate]:
    """The candidates that ``to_bytes`` wrote; raises DataError for anything else."""
    try:
        tensors = load(data)
        described = json.loads(tensors.pop("described").numpy().tobytes())
        return [_candidate(number, facts, tensors) for number, facts in enumerate(described)]
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"not a file of candidate masks: {error}; run the optimise stage again") from error


def _described(candidates: Sequence[Candidate]) -> Tensor:
    # JSON bytes as a tensor, because `load` from bytes does not hand out the metadata of a safetensors file.
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
    named = {name: tensors[key] for name in TENSORS if (key := f"{number}.{name}") in tensors}
    mask = Mask(RouterSpec.from_json(facts["spec"]), rule_of(named, facts["epsilon"]), facts["provenance"])
    return Candidate(facts["method"], facts["cell"], mask)
