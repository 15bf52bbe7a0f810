"""The JSON of others, without what JSON leaves open."""

import json
from typing import Any

from mascing.errors import MaskError
from mascing.validation import distinct


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
