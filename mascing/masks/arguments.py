"""What a mask refuses to be made of, in words."""

import json
from collections.abc import Mapping
from typing import Any

from mascing.errors import MaskError


def refuse_other_types(wanted: type | tuple[type, ...], **arguments: object) -> None:
    """Raise MaskError for an argument that is of none of the types, by its name."""
    for name, argument in arguments.items():
        if not isinstance(argument, wanted):
            names = " or ".join(kind.__name__ for kind in (wanted if isinstance(wanted, tuple) else (wanted,)))
            raise MaskError(f"{name} must be a {names}, not {type(argument).__name__}")


def facts(provenance: Mapping[str, Any] | None) -> dict[str, Any]:
    """The provenance as a dict, {} for None. Raises MaskError for another type."""
    if provenance is None:
        return {}
    refuse_other_types(Mapping, provenance=provenance)
    return dict(provenance)


def refuse_unstorable(provenance: object) -> None:
    """Raise MaskError for a provenance that is no dict, or that JSON, in which a mask's file holds it, cannot say."""
    refuse_other_types(dict, provenance=provenance)
    try:
        json.dumps(provenance, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise MaskError(
            f"the provenance cannot be stored as JSON: {error}: use text, numbers, lists and dicts"
        ) from error
