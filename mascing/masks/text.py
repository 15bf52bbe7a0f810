"""Masks as text: a description, the difference between two masks, and the conflicts of a composition.

Shapes: L MoE layer, E expert.
"""

import json
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mascing.errors import MaskError
from mascing.masks.combining.composition import Composition, Conflict
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.masks.unproven import UNPROVEN, why_unproven
from mascing.prose import counted

_WIDTH = 100
# Stored rows have their keys in alphabetical order.
_FIRST_KEYS = ("side", "layer", "expert", "forced")
_KINDS = ("added", "removed", "flipped", "stronger", "weaker", "replaced")
# What pruning leaves in the provenance (mascing/selection/parts.py), as text.
_KEPT, _KEPT_OF = "kept", "kept_of"
_NAMES = {_KEPT: "entries", _KEPT_OF: "entries before pruning"}
# Facts of a pruned mask that hold for what is left of it; all others are of the search, which made a larger one.
_STILL_TRUE = ("method", "experts")


def description(mask: Mask) -> str:
    """The mask's model, rule, provenance and entries, one line per layer unless the provenance lists them all.

    A mask that no run published says so first. Of a pruned mask, what the search had before is told apart.
    """
    spec = mask.spec
    why = why_unproven(mask)
    facts = {name: value for name, value in sorted(mask.provenance.items()) if name not in (UNPROVEN, *_NAMES)}
    made_of = mask.provenance.get(_KEPT_OF, mask.entries)
    pruned = made_of != mask.entries
    now = {name: value for name, value in facts.items() if name in _STILL_TRUE or not pruned}
    before = {name: value for name, value in facts.items() if name not in now}
    return "\n".join(
        [
            *([f"UNPROVEN    {why}"] if why else []),
            f"digest      {mask.digest}",
            f"model       {spec.family}, {spec.n_layers} MoE layers x {spec.n_experts} experts, top-{spec.top_k} "
            f"(router fingerprint {spec.fingerprint[:12]})",
            f"rule        {_rule(mask)}",
            f"entries     {mask.entries} of {spec.n_layers * spec.n_experts}"
            + (f", what pruning left of {_value(made_of)}" if pruned else ""),
            *_facts(now),
            *([] if _lists_entries(mask) else ["", *_layers(mask)]),
            *(["", "settings and counts of the search, before pruning", *_facts(before)] if before else []),
        ]
    )


def difference(a: Mask, b: Mask) -> str:
    """What changed from ``a`` to ``b``: provenance, then the changed experts of each layer by kind of change.

    The kinds are added, removed, flipped (now moved the opposite way), stronger and weaker, and replaced if the masks
    have different rules. Raises MaskError if the masks are for models of different shape.
    """
    if (a.spec.layer_ids, a.spec.n_experts) != (b.spec.layer_ids, b.spec.n_experts):
        raise MaskError(
            f"the masks cannot be compared: one is for {a.spec.n_layers} layers x {a.spec.n_experts} experts, "
            f"the other for {b.spec.n_layers} x {b.spec.n_experts}"
        )
    if a.digest == b.digest:
        return "no difference: the masks are the same"
    facts, layers = list(_changed_facts(a, b)), list(_changed_layers(a, b))
    return "\n".join([*facts, *([""] if facts and len(layers) > 1 else []), *layers])


def conflict_report(composed: Composition, names: Sequence[str]) -> str:
    """What the named parts share, and each expert that they disagree about, layer by layer."""
    mask, conflicts = composed.mask, composed.conflicts
    lines = [f"{number}: {name}" for number, name in enumerate(names, start=1)]
    shared = counted(composed.shared, "expert is", "experts are")
    lines.append(f"{counted(mask.entries, 'entry', 'entries')}; {shared} moved by more than one mask")
    if not conflicts:
        return "\n".join([*lines, "no conflicts"])
    crowded = sum(conflict.crowded for conflict in conflicts)
    causes = [
        *([f"{len(conflicts) - crowded} pulled both ways"] if crowded < len(conflicts) else []),
        *([f"{crowded} beyond what a layer can force"] if crowded else []),
    ]
    lines += [f"{counted(len(conflicts), 'conflict')}: {', '.join(causes)}", ""]
    return "\n".join([*lines, *(_conflict(conflict, mask) for conflict in conflicts)])


def _conflict(conflict: Conflict, mask: Mask) -> str:
    """One conflict: the effect of each mask, by its number, and that of the composed mask."""
    names = {1.0: "on", -1.0: "off", 0.0: "left alone"} if isinstance(mask.rule, OverrideRule) else {}
    effects = ", ".join(
        f"{number}: {names.get(value, f'{value:+.3f}')}"
        for number, value in enumerate(conflict.asked, start=1)
        if value
    )
    left = names.get(conflict.left, f"{conflict.left:+.3f}")
    why = " (the layer is full)" if conflict.crowded else ""
    return f"layer {conflict.layer:>2}  expert {conflict.expert:>3}  {effects} -> {left}{why}"


def _changed_facts(a: Mask, b: Mask) -> Iterator[str]:
    if a.spec.fingerprint != b.spec.fingerprint:
        yield f"model: {a.spec.fingerprint[:12]} -> {b.spec.fingerprint[:12]}"
    if _rule(a) != _rule(b):
        yield f"rule: {_rule(a)} -> {_rule(b)}"
    unproven_before, unproven_after = (why_unproven(mask) or "-" for mask in (a, b))
    if unproven_before != unproven_after:
        yield f"unproven: {unproven_before} -> {unproven_after}"
    for name in sorted((a.provenance.keys() | b.provenance.keys()) - {UNPROVEN}):
        before, after = (mask.provenance.get(name, "-") for mask in (a, b))
        if before == after:
            continue
        if _rows(before) or _rows(after):
            yield f"{name}: changed, as `mascing mask show` of each tells"
        else:
            yield f"{_NAMES.get(name, name)}: {_value(before)} -> {_value(after)}"


def _changed_layers(a: Mask, b: Mask) -> Iterator[str]:
    counts: Counter[str] = Counter()
    for layer, depth in enumerate(a.spec.layer_ids):
        changes = list(_changes(_entries(a, layer), _entries(b, layer)))
        counts.update(kind for kind, _ in changes)
        label = f"layer {depth:>2}  "
        for kind in _KINDS:
            texts = [text for change_kind, text in changes if change_kind == kind]
            if texts:
                yield from _folded(f"{label}{kind:<9} ", texts)
                label = " " * len(label)
    kinds = [f"{counts[kind]} {kind}" for kind in _KINDS if counts[kind]]
    total = a.spec.n_layers * a.spec.n_experts
    yield f"{counts.total()} of {total} entries differ" + (f": {', '.join(kinds)}" if kinds else "")


@dataclass(frozen=True)
class _Entry:
    """The effect of a mask on one expert: its rule, strength and direction, and the effect as text."""

    rule: str
    value: float
    on: bool
    text: str


def _entries(mask: Mask, layer: int) -> dict[int, _Entry]:
    """The mask's effect by expert, for the experts that it changes."""
    match mask.rule:
        case BiasRule(bias_LE):
            values = enumerate(bias_LE[layer].tolist())
            return {expert: _Entry("bias", abs(bias), bias > 0, f"{bias:+.3f}") for expert, bias in values if bias != 0}
        case OverrideRule() as rule:
            forced = rule.entries_LE[layer].nonzero().flatten().tolist()
            return {expert: _forced(rule, layer, expert) for expert in forced}


def _forced(rule: OverrideRule, layer: int, expert: int) -> _Entry:
    on, priority = bool(rule.activated_LE[layer, expert]), float(rule.priority_LE[layer, expert])
    text = ("on" if on else "off") + (f" ({priority:+.3f})" if priority else "")
    return _Entry("override", abs(priority), on, text)


def _changes(before: dict[int, _Entry], after: dict[int, _Entry]) -> Iterator[tuple[str, str]]:
    """The kind of each expert's change, and the change as text."""
    for expert in sorted(before.keys() | after.keys()):
        if expert not in before:
            yield "added", f"{expert}: {after[expert].text}"
        elif expert not in after:
            yield "removed", f"{expert}: {before[expert].text}"
        elif (was := before[expert]) != (now := after[expert]):
            yield _kind(was, now), f"{expert}: {was.text} -> {now.text}"


def _kind(was: _Entry, now: _Entry) -> str:
    if was.rule != now.rule:
        return "replaced"
    if was.on != now.on:
        return "flipped"
    return "stronger" if now.value > was.value else "weaker"


def _rule(mask: Mask) -> str:
    match mask.rule:
        case BiasRule():
            return "bias (added to the router logits)"
        case OverrideRule(epsilon=epsilon):
            return f"override (epsilon {epsilon:g})"


def _layers(mask: Mask) -> Iterator[str]:
    """A table of the entries of each layer."""
    yield "layer  experts"
    for layer, depth in enumerate(mask.spec.layer_ids):
        entries = _entries(mask, layer)
        yield from _folded(f"{depth:>5}  ", [f"{expert}: {entry.text}" for expert, entry in entries.items()] or ["-"])


def _facts(facts: Mapping[str, object]) -> Iterator[str]:
    for name, value in facts.items():
        yield from _fact(name, value)


def _fact(name: str, value: object) -> Iterator[str]:
    """A provenance fact: one line, or one line per row if it is a table."""
    rows = _rows(value)
    if not rows:
        yield f"{name:<11} {_value(value)}"
    for number, row in enumerate(rows):
        keys = [key for key in sorted(row, key=_place) if not _rows(row[key])]
        cells = ", ".join(f"{_NAMES.get(key, key)} {_value(row[key])}" for key in keys)
        yield f"{name if number == 0 else '':<11} {cells}"


def _lists_entries(mask: Mask) -> bool:
    """Whether the provenance names exactly the experts that the mask forces, each with its direction."""
    rows = _rows(mask.provenance.get("experts"))
    if not (isinstance(mask.rule, OverrideRule) and rows):
        return False
    named = {(row.get("layer"), row.get("expert"), row.get("forced")) for row in rows}
    forced = {
        (depth, expert, "on" if entry.on else "off")
        for layer, depth in enumerate(mask.spec.layer_ids)
        for expert, entry in _entries(mask, layer).items()
    }
    return named == forced


def _place(key: str) -> int:
    """The place of a key in a row: what names the row comes first."""
    return _FIRST_KEYS.index(key) if key in _FIRST_KEYS else len(_FIRST_KEYS)


def _rows(value: object) -> list[dict[str, Any]]:
    """The rows of a table, of which an object is one with a single row; nothing else has any."""
    rows: list[Any] = value if isinstance(value, list) else [value]
    return rows if all(isinstance(row, dict) for row in rows) else []


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _folded(label: str, items: Sequence[str]) -> list[str]:
    """The items after a label, wrapped onto as many lines as they need."""
    # Null characters replace the spaces inside an item while the text is wrapped, so that no item breaks.
    text = ", ".join(item.replace(" ", "\0") for item in items)
    lines = textwrap.wrap(
        text, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label), break_on_hyphens=False
    )
    return [line.replace("\0", " ") for line in lines]
