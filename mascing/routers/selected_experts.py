"""Watch which experts a model's routers really select, whatever rule the family selects by.

The ids are the model's own. Nearly every block hands them to its ``experts``, where a hook reads them. Where it does
not (llama4 scales the input of every expert instead), they are the result of the block's ``topk``. Corrections, groups
and any steering in force are thus part of what is seen, and no family's rule is repeated here.
Shape suffixes: N row (B * T in row-major order), E expert, K selected.
"""

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from mascing.errors import ModelError
from mascing.routers.proof import being_proved, proof_forward
from mascing.routers.spec import Router, experts_of, find_routers, uncompiled

WatchSelections = Callable[[int, Tensor], None]
"""(index of the MoE layer in depth order, ids [N, K]). An id of E stands for a place that went to no expert: longcat's
zero experts."""


def watch_selections(model: nn.Module, watch: WatchSelections) -> "SelectionHandle":
    """Call ``watch`` with the expert ids that each MoE layer selects for every token, until the handle is removed.

    The ids of a token are distinct, in no particular order. Layers that gradient checkpointing recomputes are seen
    again. Raises ModelError if a 2-token forward does not show every layer's selection exactly once, or if the routers
    cannot be found.
    """
    return SelectionHandle(model, watch)


class SelectionHandle:
    """Selections watched on one model; a context manager that stops it."""

    def __init__(self, model: nn.Module, watch: WatchSelections) -> None:
        """Find where each layer's selection can be seen, and prove it; call :func:`watch_selections` instead."""
        self.model = uncompiled(model)
        self._routers = find_routers(self.model)
        self._watch = watch
        self._hooks: list[RemovableHandle] = []
        self._proof: list[tuple[int, Tensor]] | None = None
        try:
            self._attach()
            if model is not self.model:
                self._refuse(self._unseen(model))
        except BaseException:
            self.remove()
            raise

    def selected(self, ids_BT: Tensor) -> list[Tensor]:
        """The expert ids [N, K] that each layer selects for these tokens; nobody who watches the model is told."""
        self._proof = []
        try:
            with proof_forward(self.model, self._routers, tokens=ids_BT):
                seen = dict(self._proof)
        finally:
            self._proof = None
        return [_without_more(seen[layer], router) for layer, router in enumerate(self._routers)]

    def remove(self) -> None:
        """Stop watching; removing twice is harmless."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _attach(self) -> None:
        """Watch at the experts, and in the block those layers whose experts do not get the ids."""
        unseen = list(range(len(self._routers)))
        for attach in (_at_the_experts, _in_the_block):
            hooks = {layer: attach(self.model, self._routers[layer], partial(self._see, layer)) for layer in unseen}
            self._hooks += [hook for of_layer in hooks.values() for hook in of_layer]
            unseen = self._unseen()
            for layer in unseen:
                for hook in hooks.get(layer, []):
                    hook.remove()
            if not unseen:
                return
        self._refuse(unseen)

    def _see(self, layer: int, ids: Tensor) -> None:
        router = self._routers[layer]
        ids_NK = ids.detach().reshape(-1, router.top_k)
        if self._proof is not None:
            self._proof.append((layer, ids_NK))
        elif not being_proved(self.model):
            self._watch(layer, _without_more(ids_NK, router))

    def _unseen(self, compiled: nn.Module | None = None) -> list[int]:
        """Layers whose selection is not seen, or not once, in a forward of the model or of a compiled callable."""
        self._proof = []
        try:
            with proof_forward(self.model, self._routers, compiled) as n_tokens:
                seen = self._proof
        finally:
            self._proof = None
        return [
            layer
            for layer, router in enumerate(self._routers)
            if not _proven([ids_NK for met, ids_NK in seen if met == layer], n_tokens, router)
        ]

    def _refuse(self, unseen: list[int]) -> None:
        if unseen:
            raise ModelError(
                f"the experts that {len(unseen)} of {len(self._routers)} routers select cannot be observed (first "
                f"{self._routers[unseen[0]].name}): their block neither hands ids [tokens, {self._routers[0].top_k}] "
                "to a module `experts` nor calls topk once for them. A bias needs no selections, and "
                "record(model, selected=False) records logits alone; watch a model before it is compiled"
            )

    def __enter__(self) -> "SelectionHandle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


See = Callable[[Tensor], None]


def _without_more(ids: Tensor, router: Router) -> Tensor:
    """The ids with E for all columns that are no experts."""
    return ids.clamp(max=router.n_experts) if router.n_columns > router.n_experts else ids


def _proven(seen: list[Tensor], n_tokens: int, router: Router) -> bool:
    """Whether one report was made, of K distinct experts for each token."""
    if len(seen) != 1 or len(seen[0]) != n_tokens:
        return False
    ordered_NK = seen[0].sort(dim=1).values
    distinct = bool((ordered_NK.diff(dim=1) > 0).all())
    return distinct and int(ordered_NK.min()) >= 0 and int(ordered_NK.max()) < router.n_columns


def _at_the_experts(model: nn.Module, router: Router, see: See) -> list[RemovableHandle]:
    """Hook the router's experts: their ids are the one integer argument whose rows hold K."""
    experts = experts_of(model, router)
    if experts is None:
        return []

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if len(args) > 2 and hasattr(args[1], "expt_hist"):
            see(_unsorted(args[1], args[2]))
        for value in (*args, *kwargs.values()):
            if _is_ids(value, router.top_k):
                see(value)

    return [experts.register_forward_pre_hook(hook, with_kwargs=True)]


def _unsorted(routing_data: Any, gather: Any) -> Tensor:
    """The ids [N * K] of gpt_oss in mxfp4, whose kernels get its places sorted by expert and the tokens of each."""
    ends_E = routing_data.expt_hist.cumsum(0)
    return torch.searchsorted(ends_E, gather.dst_indx.long(), right=True)


def _in_the_block(model: nn.Module, router: Router, see: See) -> list[RemovableHandle]:
    """Hook the module that holds the router: while it runs, look at every ``topk`` of K among all experts."""
    block = model.get_submodule(router.name.rpartition(".")[0])
    modes: list[_TopK] = []

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        modes.append(_TopK(router, see))
        modes[-1].__enter__()

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        modes.pop().__exit__(None, None, None)

    return [block.register_forward_pre_hook(enter), block.register_forward_hook(leave, always_call=True)]


class _TopK(TorchFunctionMode):
    def __init__(self, router: Router, see: See) -> None:
        super().__init__()
        self._router, self._see = router, see

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.topk, Tensor.topk) and self._is_selection(args[0], result.indices):
            self._see(result.indices)
        return result

    def _is_selection(self, scores: Tensor, ids: Tensor) -> bool:
        among_all = scores.shape[-1] in (self._router.n_experts, self._router.n_columns)
        return among_all and _is_ids(ids, self._router.top_k)


def _is_ids(value: Any, top_k: int) -> bool:
    return (
        isinstance(value, Tensor)
        and value.dtype in (torch.int32, torch.int64)
        and value.dim() > 1
        and value.shape[-1] == top_k
    )
