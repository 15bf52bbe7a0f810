"""Refuse adapters (LoRA and the like) on routers: an adapted router adds to its logits where no tap sees it."""

import re
from collections.abc import Sequence

from torch import nn

from mascing.errors import ModelError

# The parts that peft's wrappers add to the name of the module that they wrap.
_WRAPPING = re.compile(r"\.(base_layer|original_module|modules_to_save\.[^.]+)(?=\.|$)")


def name_without_adapters(name: str) -> str:
    """The name that a module would have if no adapter wrapped it."""
    return _WRAPPING.sub("", name)


def refuse_adapters(model: nn.Module, routers: Sequence[tuple[str, nn.Module]]) -> None:
    """Raise ModelError if an adapter wraps one of the (name, module) pairs or a part of it.

    Adapters elsewhere are part of the model like any other module.
    """
    adapted = sorted({name_without_adapters(name) for name, router in routers if _is_adapted(model, name, router)})
    if adapted:
        raise ModelError(
            f"an adapter (LoRA or another) is on {len(adapted)} routers (first {adapted[0]}), so their logits cannot "
            "be tapped: merge it first (model = model.merge_and_unload()), then save or steer the merged model"
        )


def refuse_replaced(model: nn.Module, routers: Sequence[tuple[str, nn.Module]]) -> None:
    """Raise ModelError if another layer has something else where these (name, module) pairs have their router.

    A wrapper from elsewhere is not found as a router, so its layer would be left out silently. What stems from the
    model's own code is left alone: some families have layers that route by another rule.
    """
    places = {_place(name) for name, _ in routers}
    found = {name for name, _ in routers}
    own_code = {type(part).__module__ for part in model.modules() if hasattr(part, "_can_record_outputs")}
    replaced = [
        f"{name}, a {type(module).__name__}"
        for name, module in model.named_modules()
        if name not in found and _place(name) in places and type(module).__module__ not in own_code
    ]
    if replaced:
        raise ModelError(
            f"an adapter or another wrapper has replaced {len(replaced)} routers (first {replaced[0]}), so their "
            "logits cannot be tapped: merge it into the model first, then save or steer the merged model"
        )


def _place(name: str) -> str:
    """A module's name with any number in place of the layer's."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)


def has_adapters(model: nn.Module) -> bool:
    """Whether any module of the model is adapted; such a model saves its adapters alone."""
    return any(_is_adapter(module) for module in model.modules())


def _is_adapted(model: nn.Module, name: str, router: nn.Module) -> bool:
    parts = name.split(".")
    around = [model.get_submodule(".".join(parts[:length])) for length in range(1, len(parts))]
    return any(_is_adapter(module) for module in (*around, *router.modules()))


def _is_adapter(module: nn.Module) -> bool:
    """Whether the module is one of peft's wrappers, which all list the names of what they add."""
    return hasattr(module, "adapter_layer_names") or "base_layer" in module._modules
