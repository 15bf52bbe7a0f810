"""Count the bytes that a model takes for a token, on any device: on ``meta``, a model of true size needs no memory."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROWS = 2
SHORT, LENGTH = 256, 512
"""Tokens of a conversation at which is counted."""


def weight_bytes(model: Any) -> int:
    """The bytes of all parameters."""
    return sum(parameter.nbytes for parameter in model.parameters())


def experts(model: Any) -> tuple[int, int]:
    """How many experts a layer selects, and how many it has."""
    settings = model.config
    selected = getattr(settings, "moe_topk", None) or settings.num_experts_per_tok
    return selected, getattr(settings, "num_experts", None) or settings.num_local_experts


def parameters(model: Any) -> tuple[int, int]:
    """All parameters, and those that a token goes through."""
    top_k, n_experts = experts(model)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    routed = sum(size for name, size in sizes.items() if ".experts." in name)
    return sum(sizes.values()), sum(sizes.values()) - routed + routed * top_k // n_experts


def cache_per_token(model: Any) -> float:
    """Bytes of keys and values that generation keeps for a token of a conversation of LENGTH."""
    with torch.no_grad():
        cache = model.get_decoder()(**_inputs(model, ROWS, LENGTH), use_cache=True).past_key_values
    kept: int = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    return kept / (ROWS * LENGTH)


def saved_per_token(model: Any) -> float:
    """Bytes that a plain forward keeps for a backward pass to its inputs, for a token of a conversation of LENGTH.

    On ``meta``, sdpa keeps what grows with the square of the length, which no GPU kernel of it does: that part, told
    by a second length, is left out.
    """
    at_length = _saved(model, ROWS, LENGTH) / (ROWS * LENGTH)
    if model.device.type != "meta" or model.config._attn_implementation == "eager":
        return at_length
    slope = (at_length - _saved(model, ROWS, SHORT) / (ROWS * SHORT)) / (LENGTH - SHORT)
    return at_length - slope * LENGTH


def recomputed_per_token(model: Any) -> tuple[float, float]:
    """Bytes that layers which are recomputed keep for a token: their inputs, and one layer's own while it is redone."""
    layers = model.config.num_hidden_layers
    inputs: int = layers * model.config.hidden_size * model.dtype.itemsize
    return inputs, saved_per_token(model) / layers


def forward_per_token(model: Any) -> float:
    """The peak of what a forward without gradients holds beside the weights, for a token of a short conversation."""
    rows, length = 8, 64
    with torch.no_grad(), _Live() as live:
        model.get_decoder()(**_inputs(model, rows, length), use_cache=False)
    peak: int = live.peak
    return peak / (rows * length)


def _saved(model: Any, rows: int, length: int) -> int:
    own = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Any] = {}  # holds the storages, so that no address is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    inputs = _inputs(model, rows, length)
    inputs["inputs_embeds"].requires_grad_()
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = model.get_decoder()(**inputs, use_cache=False)
    del result
    masks = {mask.untyped_storage()._cdata for mask in tree_leaves(inputs["attention_mask"]) if mask is not None}
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own | masks)


def _inputs(model: Any, rows: int, length: int) -> dict[str, Any]:
    """Embeddings; on ``meta`` also a mask, because transformers looks into the values of what it makes one from."""
    of = {"device": model.device, "dtype": model.dtype}
    mask: Any = torch.zeros(rows, 1, length, length, **of) if model.device.type == "meta" else None
    if mask is not None and model.config.model_type == "gpt_oss":
        mask = {"full_attention": mask, "sliding_attention": mask}
    return {"inputs_embeds": torch.zeros(rows, length, model.config.hidden_size, **of), "attention_mask": mask}


class _Live(TorchDispatchMode):
    """Follows the bytes of all tensors that are made while the block runs."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._living: set[int] = set()

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage(), given)
        self.peak = max(self.peak, self.now)
        return made

    def _follow(self, storage: Any, given: set[int]) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in given and key not in self._living:
            self._living.add(key)
            self.now += size
            weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._living.discard(key)
        self.now -= size
