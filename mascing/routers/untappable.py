"""Refuse routers whose weights were changed or taken away by how the model was loaded: quantised, or offloaded."""

from collections.abc import Mapping

from torch import Tensor, nn

from mascing.errors import ModelError


def refuse_quantised(model: nn.Module) -> None:
    """Raise ModelError for quantised routers: one that is a plain Linear is quantised with the rest of the model."""
    names = [
        name
        for name, module in model.named_modules()
        if name.endswith((".gate", ".router", ".gate.wg", ".router.layer"))
        and isinstance(weight := module._parameters.get("weight"), Tensor)
        and not weight.is_floating_point()
        and any(hasattr(model.get_submodule(name.rsplit(".", up)[0]), "experts") for up in (1, 2))
    ]
    if names:
        leaf = names[0].rpartition(".")[2]
        raise ModelError(
            f"quantisation replaced the routers ({', '.join(names[:3])}...), so their logits cannot be tapped: "
            f'load the model with llm_int8_skip_modules=["{leaf}", "lm_head"] in its quantisation config'
        )


def refuse_offloaded(weights: Mapping[str, Tensor]) -> None:
    """Raise ModelError for routers, by name, that accelerate loads only for each forward: there is no weight to tap."""
    offloaded = [name for name, weight in weights.items() if weight.is_meta]
    if offloaded:
        raise ModelError(
            f"{len(offloaded)} of {len(weights)} routers are offloaded to CPU or disk (first {offloaded[0]}), so their "
            "logits cannot be tapped: load the model on more GPUs, in a smaller dtype, or quantised except for the "
            "routers"
        )
