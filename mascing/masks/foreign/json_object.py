"""The JSON of others, without what JSON leaves open."""

import json
from typing import Any

from mascing.conversations.intake.opening import encoding_of
from mascing.errors import MaskError
from mascing.validation import distinct


def is_object_with(text: str, data: bytes) -> bool:
    """Whether the bytes are of a JSON object with that text in it, in any encoding that JSON has."""
    decoded = data.decode(encoding_of(data), errors="replace").lstrip()
    return decoded.startswith("{") and text in decoded


def json_object(data: bytes) -> dict[str, Any]:
    """The object in the bytes. Raises MaskError for anything else, and for a key that stands in one object twice."""
    try:
        value = json.loads(data, object_pairs_hook=distinct)
    except RecursionError:
        raise MaskError("it is nested too deeply") from None
    except ValueError as error:
        raise MaskError(f"it cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise MaskError("it must be one JSON object")
    return value
