"""Plain JSON: this project's own list of experts (`schemas/cards/listed_mask.py`)."""

import json
from collections.abc import Iterator

from pydantic import ValidationError

from mascing.errors import MaskError
from mascing.masks.foreign.choice import Choice
from mascing.masks.foreign.expert_list import ExpertList
from mascing.masks.foreign.json_object import is_object_with, json_object
from mascing.masks.mask import Mask
from mascing.masks.rules import BiasRule, OverrideRule
from mascing.schemas.cards.listed_mask import ListedExpert, ListedMask, ListedModel
from mascing.validation import complaints

_SIGN = {"on": 1.0, "off": -1.0, None: 0.0}


def is_plain(data: bytes) -> bool:
    """Whether the bytes say that they are such a list."""
    return is_object_with('"mascing-experts-1"', data)


def read(data: bytes, choice: Choice) -> ExpertList:
    """The list in the bytes. Raises MaskError, naming the place, for anything else."""
    choice.refuse()
    try:
        listed = ListedMask.model_validate_json(json.dumps(json_object(data)), strict=True)
    except ValidationError as error:
        raise MaskError("; ".join(complaints(error, ListedMask))) from error
    rows = {(row.layer, row.expert): row for row in listed.experts}
    exported = {} if listed.provenance is None else {"exported": {"digest": listed.digest, **listed.provenance}}
    is_bias = listed.experts[0].bias is not None
    return ExpertList(
        rule="bias" if is_bias else "override",
        values={place: row.bias if row.bias is not None else _SIGN[row.forced] for place, row in rows.items()},
        priority={place: row.priority for place, row in rows.items() if row.priority is not None},
        epsilon=listed.epsilon,
        numbering="depth",
        model=listed.model,
        facts=exported,
    )


def write(mask: Mask) -> bytes:
    """The mask as such a list: every expert that it moves, and for an override every priority."""
    spec = mask.spec
    listed = ListedMask(
        format="mascing-experts-1",
        model=ListedModel(
            family=spec.family,
            layers=spec.layer_ids,
            n_experts=spec.n_experts,
            top_k=spec.top_k,
            fingerprint=spec.fingerprint,
        ),
        epsilon=mask.rule.epsilon,
        experts=tuple(_rows(mask)),
        provenance=mask.provenance,
        digest=mask.digest,
    )
    return f"{json.dumps(listed.model_dump(mode='json', exclude_none=True), indent=1)}\n".encode()


def _rows(mask: Mask) -> Iterator[ListedExpert]:
    depth = mask.spec.layer_ids
    match mask.rule:
        case BiasRule(bias_LE):
            for layer, expert in bias_LE.nonzero().tolist():
                yield ListedExpert(layer=depth[layer], expert=expert, bias=float(bias_LE[layer, expert]))
        case OverrideRule() as rule:
            for layer, expert in (rule.entries_LE | (rule.priority_LE != 0)).nonzero().tolist():
                on, off = bool(rule.activated_LE[layer, expert]), bool(rule.deactivated_LE[layer, expert])
                yield ListedExpert(
                    layer=depth[layer],
                    expert=expert,
                    forced="on" if on else "off" if off else None,
                    priority=float(rule.priority_LE[layer, expert]),
                )
