"""Steer a model's routers with one mask for all rows of the batch, or one mask per row."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, get_args

from torch import Tensor, nn

from mascing.errors import MaskError, SteeringError
from mascing.masks.mask import Mask, refuse_unforceable
from mascing.masks.rules import OverrideRule
from mascing.routers.spec import RouterSpec, find_routers, inspect_routers, uncompiled
from mascing.routers.tap import TapHandle, edits_of
from mascing.steering.edits import Edits
from mascing.steering.forced import ROWS, ForcedExperts
from mascing.steering.forwards import Forwards, Tokens


def steer(model: nn.Module, mask: Mask | Sequence[Mask | None], *, tokens: Tokens = "all") -> "Steering":
    """Steer ``model`` until the handle is removed; also a context manager.

    A bare mask steers every row. A sequence holds one mask (or None) for each row of the batch, so a sequence of one is
    for a batch of one row; inside ``generate``, beam search and sampling copy rows, and each copy takes the mask of its
    row.

    ``tokens`` says which tokens the mask acts on: all, those of the prompt (what ``generate`` is given), or those of
    the reply (what it makes). The last token of the prompt predicts the first of the reply, so ``reply`` leaves that
    one as it is. A plain forward does not say which tokens are which: it is refused unless they are :meth:`marked
    <Steering.marked>`.

    One thread at a time may be inside a steered model, in a forward, in ``generate``, in ``swap`` or within a mark: any
    other that enters meanwhile gets a SteeringError at once. Hold a lock, or steer a copy of the model for each thread.
    A compiled graph does not look for threads.

    Raises MaskError if a mask was made for another model or forces more than its routers can, or for an argument of
    another type. Raises SteeringError if the model is already steered, if steering cannot be proved, or if a forward of
    varied tokens does not select the experts that an override forces on, or selects those that it forces off. Raises
    ModelError if its routers cannot be tapped.
    """
    return Steering(model, mask, tokens)


class Steering:
    """A handle on a steered model."""

    def __init__(self, model: nn.Module, mask: Mask | Sequence[Mask | None], tokens: Tokens = "all") -> None:
        """Install the masks and prove that they take effect; call :func:`steer` instead."""
        if tokens not in get_args(Tokens):
            raise MaskError(f"tokens must be one of {', '.join(get_args(Tokens))}, not {tokens!r}")
        plain = uncompiled(model)
        self.spec = inspect_routers(plain)
        self._routers = find_routers(plain)
        self._masks = self._checked(mask)
        if any(isinstance(getattr(edit, "__self__", None), Edits) for edit in edits_of(plain)):
            raise SteeringError("the model is already steered: remove() that handle, or swap() its mask")
        self._removed = False
        self._for_all_rows = isinstance(mask, Mask)
        has_mask = [mask is not None for mask in self._masks]
        with ExitStack() as undo:
            self._forwards = Forwards(plain, tokens, has_mask, by_row=not self._for_all_rows)
            undo.callback(self._forwards.remove)
            self._edits = Edits(self._routers, self._masks, self.spec.scoring, self._forwards.current)
            self._handle = TapHandle(
                model,
                edit=self._edits.logits,
                choice_edit=self._edits.choice if "override" in self._edits.rules else None,
                rows=len(self._masks),
                tallies=self._edits.tallies,
            )
            undo.callback(self._handle.remove)
            self._forced = ForcedExperts(plain, ROWS if self._for_all_rows else len(self._masks))
            self._forced.prove(self._masks)
            self._undo = undo.pop_all()

    @property
    def counters(self) -> dict[int, int]:
        """Tokens steered so far by depth of the MoE layer.

        Only real tokens count, those that the masks act on, in rows with a mask. Padding does not: what the attention
        mask [rows, tokens] leaves out, and, in ``generate``, what follows a row's end token while other rows go on, the
        end token included.
        """
        return {router.layer_id: int(tally) for router, tally in zip(self._routers, self._edits.tallies, strict=True)}

    def marked(self, reply: Tensor) -> AbstractContextManager[None]:
        """Say which tokens belong to the reply, for forwards outside ``generate``: bool [rows, tokens of the forward].

        A forward of another shape raises SteeringError.
        """
        return self._forwards.marked(reply)

    def swap(self, mask: Mask | Sequence[Mask | None]) -> None:
        """Replace the mask in place, without a pause or recompilation.

        Raises the errors of :func:`steer`, after which the old masks are in force, MaskError if the number of rows or
        the rule changes, which needs a new steer(), and SteeringError if the handle was removed.
        """
        masks = self._checked(mask)
        rules = {mask.rule.name for mask in masks if mask is not None}
        for_all_rows = isinstance(mask, Mask)
        if for_all_rows != self._for_all_rows or len(masks) != len(self._masks) or not rules <= self._edits.rules:
            raise MaskError(
                f"this handle steers {_extent(self._for_all_rows, self._masks)} by {sorted(self._edits.rules)}, the "
                f"new masks are for {_extent(for_all_rows, masks)} by {sorted(rules)}: remove it and steer again"
            )
        self._refuse_if_removed()
        with self._forwards.turn:
            self._edits.write(masks)
            try:
                self._forced.prove(masks)
            except BaseException:
                self._edits.write(self._masks)
                raise
            self._masks = masks
            self._forwards.has_mask = [mask is not None for mask in masks]

    def prove(self, compiled: Callable[..., Any]) -> None:
        """Prove that a compiled callable of the model is steered too. Raises SteeringError if it is not."""
        with self._forwards.turn:
            self._handle.prove(compiled)

    def remove(self) -> None:
        """Restore the model; removing twice is harmless."""
        self._removed = True
        self._undo.close()

    def _checked(self, mask: Mask | Sequence[Mask | None]) -> list[Mask | None]:
        given: Any = mask
        if not isinstance(given, Mask | Sequence) or isinstance(given, str):
            raise MaskError(f"{type(given).__name__} is no mask: {_WHAT_IS_TAKEN}")
        masks: list[Any] = [given] if isinstance(given, Mask) else list(given)
        if not masks:
            raise MaskError(f"no mask given: {_WHAT_IS_TAKEN}")
        for row, row_mask in enumerate(masks):
            if not isinstance(row_mask, Mask | None):
                raise MaskError(f"{type(row_mask).__name__} at row {row} is no mask: {_WHAT_IS_TAKEN}")
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


_WHAT_IS_TAKEN = "pass a mask, or one mask or None for each row of the batch (Mask.load reads a file)"


def _extent(for_all_rows: bool, masks: Sequence[Mask | None]) -> str:
    return "all rows" if for_all_rows else f"{len(masks)} row(s)"


def check_fits(mask: Mask, spec: RouterSpec) -> None:
    """Raise MaskError unless ``mask`` was made for the model that ``spec`` describes and can be forced there."""
    given: Any = mask
    if not isinstance(given, Mask):
        raise MaskError(f"{type(given).__name__} is no mask: Mask.load reads one from a file")
    made_for = mask.spec
    if (made_for.n_layers, made_for.n_experts) != (spec.n_layers, spec.n_experts):
        raise MaskError(
            f"the mask is for {made_for.n_layers} MoE layers x {made_for.n_experts} experts ({made_for.family}), "
            f"the model has {spec.n_layers} x {spec.n_experts} ({spec.family})"
        )
    if made_for.fingerprint != spec.fingerprint:
        alike = replace(made_for, fingerprint=spec.fingerprint) == spec
        raise MaskError(
            f"the mask was made for another model: its fingerprint is {made_for.fingerprint[:12]}, the model's is "
            f"{spec.fingerprint[:12]} (config and router weights). "
            "Make the mask from inspect_routers(model) of this model"
            + (
                ". If it is this one after all, load it in the dtype of its file: float16 can change the fingerprint"
                if alike
                else ""
            )
        )
    if isinstance(mask.rule, OverrideRule):
        refuse_unforceable(mask.rule, spec)
