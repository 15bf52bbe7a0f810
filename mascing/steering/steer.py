"""Steer a model's routers with one mask for all rows of the batch, or one mask per row."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from torch import nn

from mascing.errors import MaskError, SteeringError
from mascing.masks.mask import Mask, refuse_unforceable
from mascing.masks.rules import OverrideRule
from mascing.routers.spec import RouterSpec, find_routers, inspect_routers, uncompiled
from mascing.routers.tap import TapHandle, edits_of
from mascing.steering.edits import Edits
from mascing.steering.forced import ROWS, ForcedExperts
from mascing.steering.rows import RowGuard


def steer(model: nn.Module, mask: Mask | Sequence[Mask | None]) -> "Steering":
    """Steer ``model`` until the handle is removed; also a context manager.

    A bare mask steers every row. A sequence holds one mask (or None) for each row of the batch, so a sequence of one is
    for a batch of one row; inside ``generate``, beam search and sampling copy rows, and each copy takes the mask of its
    row. Raises MaskError if a mask was made for
    another model or forces more than its routers can, SteeringError if the model is already steered, if steering cannot
    be proved, or if a forward of varied tokens does not select the experts that an override forces on, or selects those
    that it forces off, ModelError if its routers cannot be tapped.
    """
    return Steering(model, mask)


class Steering:
    """A handle on a steered model."""

    def __init__(self, model: nn.Module, mask: Mask | Sequence[Mask | None]) -> None:
        """Install the masks and prove that they take effect; call :func:`steer` instead."""
        plain = uncompiled(model)
        self.spec = inspect_routers(plain)
        self._routers = find_routers(plain)
        self._masks = self._checked(mask)
        if any(isinstance(getattr(edit, "__self__", None), Edits) for edit in edits_of(plain)):
            raise SteeringError("the model is already steered: remove() that handle, or swap() its mask")
        self._edits = Edits(self._routers, self._masks, self.spec.scoring)
        forces = "override" in self._edits.rules
        self._handle = TapHandle(
            model,
            edit=self._edits.logits,
            choice_edit=self._edits.choice if forces else None,
            rows=len(self._masks),
        )
        self._removed = False
        self._guard = None if isinstance(mask, Mask) else RowGuard(plain, len(self._masks))
        self._forced = ForcedExperts(plain, ROWS if self._guard is None else len(self._masks))
        try:
            self._forced.prove(self._masks)
        except BaseException:
            self.remove()
            raise
        self._counted = [0] * len(self._routers)
        self._passed = [tap.rows for tap in self._handle.taps]

    @property
    def counters(self) -> dict[int, int]:
        """Tokens steered so far by depth of the MoE layer; rows without a mask do not count."""
        return {router.layer_id: count for router, count in zip(self._routers, self._counts(), strict=True)}

    def swap(self, mask: Mask | Sequence[Mask | None]) -> None:
        """Replace the mask in place, without a pause or recompilation.

        Raises the errors of :func:`steer`, after which the old masks are in force, MaskError if the number of rows or
        the rule changes, which needs a new steer(), and SteeringError if the handle was removed.
        """
        masks = self._checked(mask)
        rules = {mask.rule.name for mask in masks if mask is not None}
        for_all_rows = isinstance(mask, Mask)
        if for_all_rows != (self._guard is None) or len(masks) != len(self._masks) or not rules <= self._edits.rules:
            raise MaskError(
                f"this handle steers {_extent(self._guard is None, self._masks)} by {sorted(self._edits.rules)}, the "
                f"new masks are for {_extent(for_all_rows, masks)} by {sorted(rules)}: remove it and steer again"
            )
        self._refuse_if_removed()
        self._counted, self._passed = self._counts(), [tap.rows for tap in self._handle.taps]
        self._edits.write(masks)
        try:
            self._forced.prove(masks)
        except BaseException:
            self._edits.write(self._masks)
            raise
        self._masks = masks

    def prove(self, compiled: Callable[..., Any]) -> None:
        """Prove that a compiled callable of the model is steered too. Raises SteeringError if it is not."""
        self._handle.prove(compiled)

    def remove(self) -> None:
        """Restore the model; removing twice is harmless."""
        self._removed = True
        self._handle.remove()
        if self._guard is not None:
            self._guard.remove()

    def _counts(self) -> list[int]:
        """Tokens steered in each MoE layer: those counted before the last swap, plus those since."""
        masked = sum(mask is not None for mask in self._masks)
        return [
            counted + (tap.rows - passed) * masked // len(self._masks)
            for tap, counted, passed in zip(self._handle.taps, self._counted, self._passed, strict=True)
        ]

    def _checked(self, mask: Mask | Sequence[Mask | None]) -> list[Mask | None]:
        masks: list[Mask | None] = [mask] if isinstance(mask, Mask) else list(mask)
        if not masks:
            raise MaskError("no mask given: pass a mask, or one mask or None for each row of the batch")
        for row_mask in masks:
            if row_mask is not None:
                check_fits(row_mask, self.spec)
        return masks

    def _refuse_if_removed(self) -> None:
        if self._removed:
            raise SteeringError("this handle was removed and steers nothing: steer() the model again")

    def __enter__(self) -> "Steering":
        self._refuse_if_removed()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def _extent(for_all_rows: bool, masks: Sequence[Mask | None]) -> str:
    return "all rows" if for_all_rows else f"{len(masks)} row(s)"


def check_fits(mask: Mask, spec: RouterSpec) -> None:
    """Raise MaskError unless ``mask`` was made for the model that ``spec`` describes and can be forced there."""
    made_for = mask.spec
    if (made_for.n_layers, made_for.n_experts) != (spec.n_layers, spec.n_experts):
        raise MaskError(
            f"the mask is for {made_for.n_layers} MoE layers x {made_for.n_experts} experts ({made_for.family}), "
            f"the model has {spec.n_layers} x {spec.n_experts} ({spec.family})"
        )
    if made_for.fingerprint != spec.fingerprint:
        raise MaskError(
            f"the mask was made for another model: its fingerprint is {made_for.fingerprint[:12]}, the model's is "
            f"{spec.fingerprint[:12]} (config and router weights). "
            "Make the mask from inspect_routers(model) of this model"
        )
    if isinstance(mask.rule, OverrideRule):
        refuse_unforceable(mask.rule, spec)
