"""Tap the routers' linear layers: watch and edit router logits before any selection, in the same way in every family.

The module that owns a router's ``[E, H]`` weight gets a subclass of its own class whose ``weight`` is a view that
knows its tap. ``F.linear(x, weight)`` runs as usual, then its result passes the tap and becomes a plain tensor again.
The model's own selection follows. This works even where a forward hook or a replaced ``forward`` is silently skipped:
in blocks that use the router's weight without calling the router, in compiled graphs, and in copies of the model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mascing.errors import SteeringError
from mascing.routers.proof import proof_forward, taps_of
from mascing.routers.spec import Router, find_routers, stored_tensor, uncompiled

Edit = Callable[[int, Tensor], Tensor]
"""(index of the MoE layer in depth order, values [rows, E]) -> values [rows, E]; rows are B * T in row-major
order."""

Watch = Callable[[int, Tensor], None]
"""Like an Edit, but it gets the values before any edit and changes nothing."""


def tap_routers(model: nn.Module, edit: Edit) -> "TapHandle":
    """Pass the router logits of every MoE layer through ``edit`` until the handle is removed.

    ``edit(layer_index, logits)`` gets and returns [rows, E]; its result is cast back to the logits' dtype. Gradients
    flow to the router's input and weight, and to any tensor that ``edit`` adds. Raises ModelError if the routers cannot
    be tapped, and SteeringError if a 2-token forward does not pass every tap exactly once.
    """
    return TapHandle(model, edit=edit)


def watch_routers(model: nn.Module, watch: Watch) -> "TapHandle":
    """Call ``watch`` with the raw router logits of every MoE layer; raises the errors of :func:`tap_routers`."""
    return TapHandle(model, watch=watch)


def edits_of(model: nn.Module) -> list[Edit]:
    """The edits in force on the router logits of ``model``, over all layers."""
    return [edit for router in find_routers(uncompiled(model)) for edit in _edits_on(router.owner)]


class TapHandle:
    """Taps in force on one model; a context manager that removes them."""

    def __init__(
        self,
        model: nn.Module,
        *,
        edit: Edit | None = None,
        watch: Watch | None = None,
        choice_edit: Edit | None = None,
        rows: int = 1,
        tallies: Sequence[Tensor] = (),
    ) -> None:
        """Install the taps and prove them with a batch of ``rows``.

        ``choice_edit`` edits the corrected scores [N, E] that correction-bias routers use for selection. ``tallies``
        are the numbers, one for each layer, that ``edit`` counts in.
        """
        self.model = uncompiled(model)
        self.routers = find_routers(self.model)
        self.taps = [_tap(router.owner, "weight", index, router) for index, router in enumerate(self.routers)]
        self._choice_taps = (
            [tap for index, router in enumerate(self.routers) if (tap := _choice_tap(router, index))]
            if choice_edit
            else []
        )
        self._edit, self._watch, self._choice_edit, self._rows, self._tallies = edit, watch, choice_edit, rows, tallies
        self._removed = False
        for tap in self.every_tap:
            tap.batches.append(rows)
        for tap in self.taps:
            tap.attach(edit, watch)
        for tap in self._choice_taps:
            tap.attach(choice_edit, None)
        for tap, tally in zip(self.taps, tallies, strict=bool(tallies)):
            tap.tallies.append(tally)
        try:
            self.prove()
            if model is not self.model:
                self.prove(model)
        except BaseException:
            self.remove()
            raise

    def prove(self, compiled: Callable[..., Any] | None = None) -> None:
        """Run 2 tokens per row through the model, or a compiled callable of it, and check that every tap fired once.

        Raises SteeringError naming the routers whose taps did not.
        """
        with proof_forward(self.model, self.routers, compiled) as n_tokens:
            counts = [(self.routers[tap.layer].name, tap.fires, tap.rows) for tap in self.every_tap]
        wrong = [
            f"{name} ({fires} times, {rows} rows)" for name, fires, rows in counts if fires > 1 or rows != n_tokens
        ]
        if wrong:
            raise SteeringError(
                f"steering is not in force: a forward of {n_tokens} tokens must pass every router once, but it passed "
                f"{', '.join(wrong)}. This model or compiled callable cannot be steered"
            )

    @property
    def every_tap(self) -> list["Tap"]:
        """The taps of router logits, then the taps of corrected scores."""
        return [*self.taps, *self._choice_taps]

    def remove(self) -> None:
        """Restore the routers; removing twice is harmless."""
        if self._removed:
            return
        self._removed = True
        for tap in self.every_tap:
            tap.batches.remove(self._rows)
        for tap in self.taps:
            tap.detach(self._edit, self._watch)
        for tap in self._choice_taps:
            tap.detach(self._choice_edit, None)
        for tap, tally in zip(self.taps, self._tallies, strict=bool(self._tallies)):
            tap.tallies = _without(tap.tallies, tally)

    def __enter__(self) -> "TapHandle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


class Tap:
    """A tapped attribute of a module: its edits and watches, and counts of what has passed."""

    def __init__(self, module: nn.Module, name: str, layer: int, n_experts: int) -> None:
        """Tap the result of ``F.linear`` with a ``weight``, or of an addition with any other attribute."""
        self.module, self.name, self.layer, self.n_experts = module, name, layer, n_experts
        self.edits: list[Edit] = []
        self.watches: list[Watch] = []
        self.batches: list[int] = []
        self.tallies: list[Tensor] = []
        """Numbers that an edit counts in; a proof leaves them as they were."""
        self.fires = 0
        self._eager_rows = 0
        # A compiled graph counts in a tensor: a Python number would be a constant of the graph.
        self._graph_rows = torch.zeros((), dtype=torch.long, device=stored_tensor(module, name).device)
        operations = _LINEAR if name == "weight" else _ADDITION
        self.tensor_class = type("TappedTensor", (TappedTensor,), {"tap": self, "operations": operations})

    @property
    def rows(self) -> int:
        """Rows that have passed the tap, in eager mode and in compiled graphs."""
        return self._eager_rows + int(self._graph_rows)

    @contextmanager
    def proof(self) -> Iterator["Tap"]:
        """Count from zero with no watches, so that a proof is not recorded; afterwards restore counts and watches."""
        saved = self.fires, self._eager_rows, self._graph_rows.clone(), self.watches
        tallied = [(tally, tally.clone()) for tally in self.tallies]
        self.fires, self._eager_rows, self.watches = 0, 0, []
        self._graph_rows.zero_()
        try:
            yield self
        finally:
            self.fires, self._eager_rows, graph_rows, self.watches = saved
            self._graph_rows.copy_(graph_rows)
            for tally, before in tallied:
                tally.copy_(before)

    def attach(self, edit: Edit | None, watch: Watch | None) -> None:
        """Add an edit after those in force, or a watch, and swap the module's class."""
        if edit is not None:
            self.edits = [*self.edits, edit]
        if watch is not None:
            self.watches = [*self.watches, watch]
        _swap_class(self.module, {**taps_of(self.module), self.name: self})

    def detach(self, edit: Edit | None, watch: Watch | None) -> None:
        """Remove an edit or a watch; removing the last one restores the module's class."""
        if edit is not None:
            self.edits = _without(self.edits, edit)
        if watch is not None:
            self.watches = _without(self.watches, watch)
        taps = taps_of(self.module)
        if not self.edits and not self.watches and taps.get(self.name) is self:
            _swap_class(self.module, {name: tap for name, tap in taps.items() if tap is not self})

    def passed(self, values: Tensor) -> Tensor:
        """Count values [..., E or more], pass the columns of the E experts to the watches and return them edited."""
        rows = values if values.dim() == 2 else values.reshape(-1, values.shape[-1])
        if torch.compiler.is_compiling():
            self._graph_rows.add_(rows.shape[0])
        else:
            self.fires += 1
            self._eager_rows += rows.shape[0]
        more = rows.shape[1] > self.n_experts
        rows_NE = rows[:, : self.n_experts] if more else rows
        for watch in self.watches:
            watch(self.layer, rows_NE)
        if not self.edits:
            return values
        for edit in self.edits:
            rows_NE = edit(self.layer, rows_NE).to(values.dtype)
        edited = torch.cat([rows_NE, rows[:, self.n_experts :]], dim=1) if more else rows_NE
        return edited if values.dim() == 2 else edited.reshape(values.shape)


class TappedTensor(Tensor):
    """A view of a tapped attribute. Each tap has its own subclass, so casts of the view stay tapped."""

    tap: Tap
    operations: tuple[Any, ...]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run ``func``: a tapped operation's result passes the tap, a cast stays tapped, other results are plain."""
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        if func in cls.operations:
            return cls.tap.passed(result)
        return result.as_subclass(cls) if func in _CASTS else result


def _without(items: list[Any], item: Any) -> list[Any]:
    index = next(i for i, candidate in enumerate(items) if candidate is item)
    return items[:index] + items[index + 1 :]


_CASTS = (
    Tensor.to,
    Tensor.type,
    Tensor.type_as,
    Tensor.float,
    Tensor.contiguous,
    Tensor.squeeze,
    Tensor.unsqueeze,
    Tensor.view,
    Tensor.view_as,
    Tensor.reshape,
)
_LINEAR = (F.linear,)
_ADDITION = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)


def _tap(module: nn.Module, name: str, layer: int, router: Router) -> Tap:
    """The tap in force on an attribute, or a new one."""
    return taps_of(module).get(name) or Tap(module, name, layer, router.n_experts)


def _choice_tap(router: Router, layer: int) -> Tap | None:
    if router.correction_owner is None or router.correction_name is None:
        return None
    return _tap(router.correction_owner, router.correction_name, layer, router)


def _edits_on(module: nn.Module) -> list[Edit]:
    tap = taps_of(module).get("weight")
    return tap.edits if tap else []


def _swap_class(module: nn.Module, taps: dict[str, Tap]) -> None:
    """Give ``module`` a subclass of its own class with one property per tap; without taps, its own class again."""
    original = getattr(type(module), "_mascing_original", type(module))
    if not taps:
        module.__class__ = original
        return
    properties = {name: property(_reader(tap.tensor_class, name)) for name, tap in taps.items()}
    namespace = {**properties, "_mascing_taps": taps, "_mascing_original": original, "__module__": original.__module__}
    module.__class__ = type(original.__name__, (original,), namespace)


def _reader(tensor_class: type[Tensor], name: str) -> Callable[[nn.Module], Tensor]:
    def read(module: nn.Module) -> Tensor:
        stored = stored_tensor(module, name)
        # A view, because a cast that changes nothing returns its input, and a compiled graph would then lose the
        # subclass.
        return stored.view_as(stored).as_subclass(tensor_class)

    return read
