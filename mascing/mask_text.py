"""Masks as text: what one holds, and what changed between two.

Shapes: L MoE layer, E expert.
"""

import json
from collections.abc import Iterator

from mascing.errors import MaskError
from mascing.mask import Mask


def description(mask: Mask) -> str:
    """The mask's model, rule, provenance and entries, a line a layer."""
    spec = mask.spec
    lines = [
        f"digest      {mask.digest}",
        f"model       {spec.family}, {spec.n_layers} MoE layers x {spec.n_experts} experts, top-{spec.top_k} "
        f"(router fingerprint {spec.fingerprint[:12]})",
        f"rule        {_rule(mask)}",
        f"entries     {mask.entries} of {spec.n_layers * spec.n_experts}",
        *(f"{name:<11} {_value(value)}" for name, value in sorted(mask.provenance.items())),
        "",
        "layer  experts",
    ]
    for layer, depth in enumerate(spec.layer_ids):
        lines.append(f"{depth:>5}  {_joined(mask, layer)}")
    return "\n".join(lines)


def difference(a: Mask, b: Mask) -> str:
    """What changed from ``a`` to ``b``: provenance, then every changed expert, a line a layer.

    Raises:
        MaskError: if the masks are for models of different shape.
    """
    if (a.spec.layer_ids, a.spec.n_experts) != (b.spec.layer_ids, b.spec.n_experts):
        raise MaskError(
            f"the masks cannot be compared: one is for {a.spec.n_layers} layers x {a.spec.n_experts} experts, "
            f"the other for {b.spec.n_layers} x {b.spec.n_experts}"
        )
    if a.digest == b.digest:
        return "no difference: the masks are the same"
    lines = [*_changed_facts(a, b), *_changed_layers(a, b)]
    return "\n".join(lines)


def _changed_facts(a: Mask, b: Mask) -> Iterator[str]:
    if a.spec.fingerprint != b.spec.fingerprint:
        yield f"model: {a.spec.fingerprint[:12]} -> {b.spec.fingerprint[:12]}"
    if _rule(a) != _rule(b):
        yield f"rule: {_rule(a)} -> {_rule(b)}"
    for name in sorted(a.provenance.keys() | b.provenance.keys()):
        before, after = (_value(mask.provenance.get(name, "-")) for mask in (a, b))
        if before != after:
            yield f"{name}: {before} -> {after}"


def _changed_layers(a: Mask, b: Mask) -> Iterator[str]:
    changed = 0
    for layer, depth in enumerate(a.spec.layer_ids):
        before, after = _entries(a, layer), _entries(b, layer)
        experts = [expert for expert in sorted(before.keys() | after.keys()) if before.get(expert) != after.get(expert)]
        changed += len(experts)
        if experts:
            said = (f"{expert}: {before.get(expert, '0')} -> {after.get(expert, '0')}" for expert in experts)
            yield f"layer {depth:>2}  {', '.join(said)}"
    yield f"{changed} of {a.spec.n_layers * a.spec.n_experts} entries differ"


def _rule(mask: Mask) -> str:
    return "bias (added to the router logits)" if mask.rule == "bias" else f"override (epsilon {mask.epsilon:g})"


def _joined(mask: Mask, layer: int) -> str:
    return ", ".join(f"{expert}: {what}" for expert, what in _entries(mask, layer).items()) or "-"


def _entries(mask: Mask, layer: int) -> dict[int, str]:
    """Expert -> what the mask does to it, for the experts that it does something to."""
    if mask.bias is not None:
        bias_E = mask.bias[layer].tolist()
        return {expert: f"{bias:+.3f}" for expert, bias in enumerate(bias_E) if bias != 0}
    assert mask.activated is not None
    assert mask.deactivated is not None
    on, off = mask.activated[layer].tolist(), mask.deactivated[layer].tolist()
    return {expert: "on" if on[expert] else "off" for expert in range(mask.spec.n_experts) if on[expert] or off[expert]}


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
