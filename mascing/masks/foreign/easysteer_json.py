"""EasySteer's file for MoE routers (``algorithm="moe_router"``): JSON with a mode and experts for each layer.

Its other files, GGUF and tensors, are directions in the residual stream (`residual_directions.py`).
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mascing.errors import MaskError
from mascing.masks.experts import finite_number
from mascing.masks.foreign.choice import Choice
from mascing.masks.foreign.expert_list import ExpertList, Place
from mascing.masks.foreign.json_object import is_object_with, json_object
from mascing.masks.mask import Mask
from mascing.masks.rules import OverrideRule

_LAYERS = "layer_configs"
_SIGN = {"activate": 1.0, "boost": 1.0, "soft_hard": 1.0, "steermoe": 1.0, "deactivate": -1.0, "suppress": -1.0}
"""What a mode, old names included, makes of ``expert_ids``."""
_SOFT = {
    "soft": "adds a multiple of each token's own spread of logits",
    "soft_topk": "acts only on tokens that have not selected the expert",
    "soft_random": "draws other experts for every token",
}
_KEYS = {"mode", "expert_ids", "activate_ids", "deactivate_ids", "epsilon"}
_EPSILON = 1e-2
_NUMBER = re.compile(r"[0-9]{1,9}")


def is_easysteer(data: bytes) -> bool:
    """Whether the bytes are JSON with EasySteer's key."""
    return is_object_with(f'"{_LAYERS}"', data)


def read(data: bytes, choice: Choice) -> ExpertList:
    """The override that the file asks for; an expert that it forces both ways is off, as in EasySteer.

    Its layers are numbered by whoever made the file: EasySteer applies them by depth, and its own notebook writes
    numbers of MoE layers. Raises MaskError for anything that no mask can say.
    """
    choice.refuse()
    layers = json_object(data).get(_LAYERS)
    if not isinstance(layers, dict) or not layers:
        raise MaskError(f"{_LAYERS} must map layers to their experts, and it holds none")
    numbers = {name: _number(name) for name in layers}
    if twice := [number for number, count in Counter(numbers.values()).items() if count > 1]:
        raise MaskError(f"layer {twice[0]} stands there twice")
    values: dict[Place, float] = {}
    for name, layer in layers.items():
        values.update(_of_layer(numbers[name], layer))
    return ExpertList(rule="override", values=values, epsilon=_epsilon(layers))


def write(mask: Mask) -> bytes:
    """The override as EasySteer reads it, layers by depth. Raises MaskError for a bias, which it cannot say."""
    if not isinstance(mask.rule, OverrideRule):
        raise MaskError(
            "EasySteer forces experts on or off and has no constant bias: its soft modes add a multiple of each "
            "token's spread. Export this mask as json"
        )
    rule, layers = mask.rule, {}
    for depth, on_E, off_E in zip(mask.spec.layer_ids, rule.activated_LE, rule.deactivated_LE, strict=True):
        on, off = on_E.nonzero().flatten().tolist(), off_E.nonzero().flatten().tolist()
        if on or off:
            layers[str(depth)] = {
                "mode": "activate",
                "activate_ids": on,
                "deactivate_ids": off,
                "epsilon": rule.epsilon,
            }
    return f"{json.dumps({_LAYERS: layers}, indent=1)}\n".encode()


def _number(name: str) -> int:
    if not _NUMBER.fullmatch(name):
        raise MaskError(f"{_LAYERS}: layer {name[:40]!r} must be the number of a layer")
    return int(name)


def _of_layer(number: int, layer: Any) -> Iterator[tuple[Place, float]]:
    if not isinstance(layer, dict):
        raise MaskError(f"{_LAYERS}: layer {number} must be a mapping")
    mode = layer.get("mode", "activate")
    if isinstance(mode, str) and mode in _SOFT:
        raise MaskError(
            f"layer {number} has mode {mode}, which {_SOFT[mode]}: a mask's numbers are the same for every token, so "
            "it cannot be imported"
        )
    if not isinstance(mode, str) or mode not in _SIGN:
        raise MaskError(f"layer {number} has mode {mode!r}: this reads activate and deactivate")
    if strange := sorted(layer.keys() - _KEYS):
        raise MaskError(f"layer {number} has {strange[0]!r}: this reads {', '.join(sorted(_KEYS))}")
    named = {"expert_ids": _SIGN[mode], "activate_ids": 1.0, "deactivate_ids": -1.0}
    found = {((number, expert), sign) for key, sign in named.items() for expert in _ids(layer, key, number)}
    if not found:
        raise MaskError(f"layer {number} names no experts")
    # Off comes last and wins, as in EasySteer.
    yield from sorted(found, key=lambda each: (-each[1], each[0]))


def _ids(layer: dict[str, Any], key: str, number: int) -> list[int]:
    ids = layer.get(key) or []
    if not isinstance(ids, list) or not all(isinstance(each, int) and not isinstance(each, bool) for each in ids):
        raise MaskError(f"layer {number}: {key} must be a list of whole numbers")
    return ids


def _epsilon(layers: dict[str, Any]) -> float:
    steps = {finite_number(layer.get("epsilon", _EPSILON), "epsilon") for layer in layers.values()}
    if len(steps) > 1:
        raise MaskError(f"layers have {len(steps)} different values of epsilon, and a mask has one: use one for all")
    (epsilon,) = steps
    return epsilon
