"""Find a model's routers and describe them: family, layers, experts, selection."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from mascing.errors import ModelError
from mascing.routers.adapters import name_without_adapters, refuse_adapters, refuse_replaced
from mascing.routers.families import (
    CORRECTION_NAMES,
    OTHER_COLUMNS,
    ROUTER_CLASSES,
    SCORING,
    TOP_K_FIELDS,
    UNLISTED,
    UNSUPPORTED,
)
from mascing.routers.identity import router_fingerprint
from mascing.routers.untappable import refuse_offloaded, refuse_quantised

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class RouterSpec:
    """What a mask must fit: the routers of one model.

    ``layer_ids`` are the depths of the MoE layers in the model (dense layers have none), ``n_experts`` E, ``top_k``
    K. ``fingerprint`` is a sha256 over the model's config and router weights, biases included. It does not depend on
    the device, attention or experts implementation, or transformers release that loads the checkpoint, nor on whether
    that is in float32 or bfloat16; float16 can change it where the checkpoint is stored in another dtype.
    ``groups`` is (number of groups, groups kept) if selection is limited to groups of experts.
    """

    family: str
    layer_ids: tuple[int, ...]
    n_experts: int
    top_k: int
    scoring: str
    fingerprint: str = ""
    groups: tuple[int, int] | None = None

    @property
    def n_layers(self) -> int:
        """Number of MoE layers, L."""
        return len(self.layer_ids)

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON; ``groups`` only where there are any, so that other specs stay as they were."""
        fields = {**asdict(self), "layer_ids": list(self.layer_ids)}
        groups = fields.pop("groups")
        return fields if groups is None else {**fields, "groups": list(groups)}

    @classmethod
    def from_json(cls, d: dict[str, Any]) -> "RouterSpec":
        """Inverse of :meth:`to_json`. Raises ValueError, KeyError or TypeError for what describes no routers."""
        groups = d.get("groups")
        spec = cls(**{**d, "layer_ids": tuple(d["layer_ids"]), "groups": tuple(groups) if groups else None})
        if not all(isinstance(text, str) for text in (spec.family, spec.scoring, spec.fingerprint)):
            raise TypeError("family, scoring and fingerprint are texts")
        if list(spec.layer_ids) != sorted(set(spec.layer_ids)) or not 0 < spec.top_k <= spec.n_experts:
            raise ValueError("layer_ids rise, and top_k is from 1 to n_experts")
        if spec.groups is not None:
            number, kept = spec.groups
            if not 0 < kept <= number or spec.n_experts % number:
                raise ValueError(f"{number} groups of which {kept} are kept do not divide {spec.n_experts} experts")
        return spec


class Named(Protocol):
    """A router as errors call it."""

    @property
    def name(self) -> str:
        """The name of its module."""
        ...


def inspect_routers(model: nn.Module) -> RouterSpec:
    """Describe the routers of ``model``.

    Raises ModelError if the model has no routers that can be tapped.
    """
    plain = uncompiled(model)
    routers = find_routers(plain)
    config = plain.config.get_text_config()
    return RouterSpec(
        family=config.model_type,
        layer_ids=tuple(router.layer_id for router in routers),
        n_experts=common(routers, "n_experts"),
        top_k=common(routers, "top_k"),
        scoring=SCORING.get(config.model_type, UNLISTED),
        fingerprint=router_fingerprint(config, [tensor for router in routers for tensor in router.tensors]),
        groups=routers[0].groups,
    )


@dataclass(frozen=True)
class Router:
    """One router of a model, with the owners of its weight and of its correction bias, if it has one."""

    name: str
    layer_id: int
    n_experts: int
    """Number of experts, E."""
    top_k: int
    owner: nn.Module
    correction_owner: nn.Module | None
    correction_name: str | None
    groups: tuple[int, int] | None
    """(number of groups, groups kept) if selection is limited to groups of experts."""

    @property
    def weight(self) -> Tensor:
        """The router's own parameter [columns, H], never a tapped view of it."""
        return stored_tensor(self.owner, "weight")

    @property
    def correction(self) -> Tensor | None:
        """The vector added to the scores only for selection ([E], ernie: [1, E], longcat: [columns]), or None."""
        if self.correction_owner is None or self.correction_name is None:
            return None
        return stored_tensor(self.correction_owner, self.correction_name)

    @property
    def tensors(self) -> list[Tensor]:
        """All that routes: the weight, its own bias and the correction, without those that the family lacks."""
        everything = (self.weight, self.owner._parameters.get("bias"), self.correction)
        return [tensor for tensor in everything if tensor is not None]

    @property
    def n_columns(self) -> int:
        """Number of logits: E, and in a few families more (``OTHER_COLUMNS``)."""
        return self.weight.shape[0]


def find_routers(model: nn.Module) -> list[Router]:
    """The routers of ``model`` in depth order.

    They are the modules that transformers records as ``router_logits``, or, for a family in ``ROUTER_CLASSES``, the
    modules of that class. Raises ModelError if there are none or if they cannot be tapped.
    """
    config = getattr(model, "config", None)
    if config is None or not hasattr(config, "get_text_config"):
        raise ModelError(
            f"{type(model).__name__} is not a transformers model: pass the model that from_pretrained returns"
        )
    family = config.get_text_config().model_type
    if family in UNSUPPORTED:
        raise ModelError(f"{family} cannot be steered: {UNSUPPORTED[family]}")
    refuse_quantised(model)
    modules = list(_of_class(model, ROUTER_CLASSES[family]) if family in ROUTER_CLASSES else _recorded(model))
    refuse_adapters(model, modules)
    refuse_replaced(model, modules)
    routers = [_router(model, name, module) for name, module in modules]
    if not routers:
        raise ModelError(f"{family} has no routers that transformers records as router_logits: it cannot be steered")
    refuse_offloaded({router.name: router.weight for router in routers})
    return routers


def experts_of(model: nn.Module, router: Router) -> nn.Module | None:
    """The module ``experts`` beside a router, which nearly every family calls with the ids of the selected experts."""
    experts = getattr(model.get_submodule(router.name.rpartition(".")[0]), "experts", None)
    return experts if isinstance(experts, nn.Module) else None


def uncompiled(model: nn.Module) -> "PreTrainedModel":
    """The model itself, unwrapped if ``torch.compile`` wrapped it. Raises ModelError for what is no model."""
    given: Any = model
    if not isinstance(given, nn.Module):
        raise ModelError(
            f"{type(given).__name__} is not a transformers model: pass the model that from_pretrained returns"
        )
    plain: PreTrainedModel = model._modules.get("_orig_mod") or model
    return plain


def stored_tensor(module: nn.Module, name: str) -> Tensor:
    """A module's own parameter or buffer, even if its class overrides the attribute."""
    stored = module._parameters[name] if name in module._parameters else module._buffers[name]
    assert stored is not None  # torch registers None for an absent parameter; callers ask only for present ones
    return stored


def _of_class(model: nn.Module, class_name: str) -> Iterator[tuple[str, nn.Module]]:
    """Modules of the class with that name or, if they are tapped, of a subclass of it."""
    for name, module in model.named_modules():
        if any(base.__name__ == class_name for base in type(module).__mro__):
            yield name, module


def _recorded(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that any part of the model declares as the source of its router logits.

    The declaration is their class, or a recorder that may also restrict the modules by name.
    """
    recorders = [
        recorder
        for part in model.modules()
        for recorder in _as_list((getattr(part, "_can_record_outputs", None) or {}).get("router_logits"))
    ]
    for name, module in model.named_modules():
        if any(_records(recorder, name, module) for recorder in recorders):
            yield name, module


def _records(recorder: Any, name: str, module: nn.Module) -> bool:
    if not isinstance(module, getattr(recorder, "target_class", recorder)):
        return False
    layer = getattr(recorder, "layer_name", None)
    return layer is None or f".{name_without_adapters(name)}".endswith(f".{layer}")


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _router(model: nn.Module, name: str, module: nn.Module) -> Router:
    owner = _weight_owner(name, module)
    config = model.config.get_text_config()  # type: ignore[operator, union-attr]
    parent = model.get_submodule(name.rpartition(".")[0])
    correction_owner, correction_name = _correction(module, parent)
    layer = re.search(r"\.(\d+)\.", f".{name}.")
    if layer is None:
        raise ModelError(f"the router {name} is not in a numbered layer: this model cannot be steered")
    return Router(
        name=name,
        layer_id=int(layer.group(1)),
        n_experts=stored_tensor(owner, "weight").shape[0] - _other_columns(config),
        top_k=_top_k(name, module, parent, config),
        owner=owner,
        correction_owner=correction_owner,
        correction_name=correction_name,
        groups=_groups(module),
    )


def _weight_owner(name: str, module: nn.Module) -> nn.Module:
    owners = [part for part in module.modules() if isinstance(part._parameters.get("weight"), Tensor)]
    owners = [part for part in owners if part._parameters["weight"].dim() == 2]  # type: ignore[union-attr]
    if len(owners) != 1:
        raise ModelError(
            f"the router {name} has {len(owners)} weight matrices instead of one [experts, hidden]: "
            "factored or composed routing cannot be steered"
        )
    return owners[0]


def _correction(module: nn.Module, parent: nn.Module) -> tuple[nn.Module | None, str | None]:
    for part in (*module.modules(), parent):
        for name in CORRECTION_NAMES:
            if part._parameters.get(name) is not None or part._buffers.get(name) is not None:
                return part, name
    return None, None


def _other_columns(config: Any) -> int:
    return int(getattr(config, OTHER_COLUMNS.get(config.model_type, ""), 0) or 0)


def _top_k(name: str, module: nn.Module, parent: nn.Module, config: Any) -> int:
    said = (
        getattr(module, "top_k", None),
        getattr(parent, "top_k", None),
        getattr(config, TOP_K_FIELDS.get(config.model_type, ""), None),
    )
    for top_k in said:
        if isinstance(top_k, int):
            return top_k
    raise ModelError(f"the router {name} does not say how many experts it selects (top_k): it cannot be steered")


def _groups(module: nn.Module) -> tuple[int, int] | None:
    n_groups, n_selected = getattr(module, "num_group", None), getattr(module, "topk_group", None)
    if not isinstance(n_groups, int) or not isinstance(n_selected, int) or n_selected >= n_groups:
        return None
    return n_groups, n_selected


def common(routers: Sequence[Named], attribute: str) -> int:
    """The value that all routers have, in whatever engine. Raises ModelError if they differ."""
    values = {router.name: int(getattr(router, attribute)) for router in routers}
    if len(set(values.values())) != 1:
        raise ModelError(f"the routers differ in {attribute} ({values}): a mask needs the same in every layer")
    return next(iter(values.values()))
