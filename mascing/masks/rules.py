"""The two rules by which a mask changes router logits, behind one interface.

Shape suffixes: L MoE layer, E expert.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor

from mascing.errors import MaskError
from mascing.masks.groups import activated_within, deactivated_within
from mascing.masks.override import strongest


@dataclass(frozen=True, eq=False)
class BiasRule:
    """The additive rule (MASCing): ``bias_LE``, float32 in units of router logits, is added before selection.

    Raises MaskError for NaN or infinity.
    """

    bias_LE: Tensor
    name: ClassVar[Literal["bias"]] = "bias"
    # A bias has no step, but mask files store one for every rule and the digests on cards include it.
    epsilon: ClassVar[float] = 1e-2

    def __post_init__(self) -> None:
        _refuse_other_dtypes(self.tensors)
        _refuse_non_finite(self.tensors)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The rule's tensors by their names in a file."""
        return {"bias": self.bias_LE}

    @property
    def entries_LE(self) -> Tensor:
        """The experts that the rule changes: bool [L, E]."""
        return self.bias_LE != 0

    @property
    def signed_LE(self) -> Tensor:
        """The effect on each expert: its bias, float32 [L, E]."""
        return self.bias_LE

    def strength_LE(self, sigma_L: Tensor) -> Tensor:
        """How strongly each expert is moved: ``|bias|`` in units of ``sigma_L``, each layer's spread of logits."""
        return self.bias_LE.abs() / sigma_L[:, None]

    def restricted(self, keep_LE: Tensor) -> "BiasRule":
        """The rule restricted to the experts of ``keep_LE``."""
        return BiasRule(self.bias_LE * keep_LE)

    def moved(self, places_LE: Tensor) -> "BiasRule":
        """The rule with each expert's effect moved to the expert at ``places_LE``, int64, of the same layer."""
        return BiasRule(_moved(self.bias_LE, places_LE))


@dataclass(frozen=True, eq=False)
class OverrideRule:
    """The override rule (SteerMoE): forces experts above the best router logit of a token, or below its worst.

    ``activated_LE`` and ``deactivated_LE`` are bool. ``priority_LE``, float32, is the risk difference. ``epsilon`` is
    the step beyond the best and the worst logit. Raises MaskError for tensors of different shapes, an expert that is
    both activated and deactivated, a priority that is NaN or infinite, or a step that is not positive and finite.
    """

    activated_LE: Tensor
    deactivated_LE: Tensor
    priority_LE: Tensor
    epsilon: float = 1e-2
    name: ClassVar[Literal["override"]] = "override"

    def __post_init__(self) -> None:
        if not self.activated_LE.shape == self.deactivated_LE.shape == self.priority_LE.shape:
            shapes = {name: list(tensor.shape) for name, tensor in self.tensors.items()}
            raise MaskError(f"the tensors of an override must have one shape [L, E], not {shapes}")
        _refuse_other_dtypes(self.tensors)
        _refuse_non_finite(self.tensors)
        if bool((self.activated_LE & self.deactivated_LE).any()):
            raise MaskError("an expert cannot be both activated and deactivated")
        if not 0 < self.epsilon < float("inf"):
            raise MaskError(f"epsilon must be positive and finite, not {self.epsilon}")

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The rule's tensors by their names in a file."""
        return {"activated": self.activated_LE, "deactivated": self.deactivated_LE, "priority": self.priority_LE}

    @property
    def entries_LE(self) -> Tensor:
        """The experts that the rule changes: bool [L, E]."""
        return self.activated_LE | self.deactivated_LE

    @property
    def signed_LE(self) -> Tensor:
        """The effect on each expert: +1 activated, -1 deactivated, 0 left alone, float32 [L, E]."""
        return self.activated_LE.float() - self.deactivated_LE.float()

    def strength_LE(self, sigma_L: Tensor) -> Tensor:
        """How strongly each expert is moved: ``|priority|``. An override has no size in units of ``sigma_L``."""
        return self.priority_LE.abs()

    def restricted(self, keep_LE: Tensor) -> "OverrideRule":
        """The rule restricted to the experts of ``keep_LE``; all experts keep their priority."""
        return replace(self, activated_LE=self.activated_LE & keep_LE, deactivated_LE=self.deactivated_LE & keep_LE)

    def moved(self, places_LE: Tensor) -> "OverrideRule":
        """The rule with each expert's effect moved to the expert at ``places_LE``, int64, of the same layer."""
        activated_LE, deactivated_LE, priority_LE = (_moved(tensor, places_LE) for tensor in self.tensors.values())
        return OverrideRule(activated_LE, deactivated_LE, priority_LE, self.epsilon)

    def capped(self, top_k: int, groups: tuple[int, int] | None = None) -> "OverrideRule":
        """The rule within what every layer can force, if it selects ``top_k`` experts, from ``groups`` or from all.

        The highest priorities stay activated, the lowest stay deactivated.
        """
        on_LE, off_LE = self.activated_LE, self.deactivated_LE
        if groups is not None:
            layers = zip(on_LE, off_LE, self.priority_LE, strict=True)
            capped = [
                (activated_within(on_E, priority_E, groups), deactivated_within(off_E, priority_E, groups, top_k))
                for on_E, off_E, priority_E in layers
            ]
            on_LE, off_LE = (torch.stack(rows) for rows in zip(*capped, strict=True))
        return replace(
            self,
            activated_LE=strongest(on_LE, self.priority_LE, top_k),
            deactivated_LE=strongest(off_LE, -self.priority_LE, on_LE.shape[1] - top_k),
        )


Rule: TypeAlias = BiasRule | OverrideRule

TENSORS = ("bias", "activated", "deactivated", "priority")
"""Names of the tensors in a file, of both rules."""


def rule_of(tensors: Mapping[str, Tensor], epsilon: float) -> Rule:
    """The rule with these tensors, by their names in a file. Raises MaskError if they fit neither rule exactly."""
    match sorted(tensors):
        case ["bias"]:
            return BiasRule(tensors["bias"])
        case ["activated", "deactivated", "priority"]:
            return OverrideRule(tensors["activated"], tensors["deactivated"], tensors["priority"], epsilon)
        case names:
            raise MaskError(f"a mask has a bias, or activated, deactivated and priority; this one has {names}")


def _refuse_other_dtypes(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        wanted = torch.bool if name in ("activated", "deactivated") else torch.float32
        if tensor.dtype != wanted:
            raise MaskError(f"{name} must be {wanted}, not {tensor.dtype}")


def _refuse_non_finite(tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise MaskError(f"{name} has NaN or infinite entries")


def _moved(tensor_LE: Tensor, places_LE: Tensor) -> Tensor:
    return torch.empty_like(tensor_LE).scatter_(1, places_LE, tensor_LE)
