"""The table of formats: a format is one file here and one line in the table."""

from collections.abc import Callable
from dataclasses import dataclass

from mascing.errors import MaskError
from mascing.masks.foreign import easysteer_json, plain_json, residual_directions, steermoe_table
from mascing.masks.foreign.choice import Choice
from mascing.masks.foreign.expert_list import ExpertList
from mascing.masks.mask import Mask, refuse_empty


@dataclass(frozen=True)
class Format:
    """A format: whether bytes are of it, how they are read, and how a mask is written, if it can say one."""

    claims: Callable[[bytes], bool]
    read: Callable[[bytes, Choice], ExpertList]
    write: Callable[[Mask], bytes] | None = None


FORMATS = {
    "json": Format(plain_json.is_plain, plain_json.read, plain_json.write),
    "easysteer": Format(easysteer_json.is_easysteer, easysteer_json.read, easysteer_json.write),
    "steermoe": Format(steermoe_table.is_table, steermoe_table.read),
    "residual": Format(residual_directions.is_directions, residual_directions.refuse),
}


def recognised(data: bytes) -> str:
    """The name of the format that the bytes are of. Raises MaskError if they are of none."""
    for name, of in FORMATS.items():
        if of.claims(data):
            return name
    raise MaskError(
        'this is no format of masks that is known here: plain JSON with "format": "mascing-experts-1", EasySteer\'s '
        "JSON with layer_configs, or SteerMoE's table of activations (pickle or CSV)"
    )


def exported(mask: Mask, name: str) -> bytes:
    """The mask in the format of that name. Raises MaskError if the format cannot say it, or if it has no entries."""
    refuse_empty(mask)
    write = FORMATS[name].write
    if write is None:
        raise MaskError(f"masks are not written as {name}")
    return write(mask)
