"""Fingerprints: equal values give equal names on any machine, in any process and order of keys."""

import hashlib
import json
import math
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from pydantic import BaseModel


def fingerprint(value: Any) -> str:
    """Return 16 hex characters that identify a value by its content.

    Takes None, booleans, numbers, strings, bytes, lists and tuples (alike), dicts with string keys (in any order),
    pydantic models, numpy arrays and torch tensors (dtype, shape and bytes). Raises TypeError for anything else.
    It also raises for NaN, because a name that does not identify its value is worse than none.
    """
    return hashlib.sha256(_canonical(value).encode()).hexdigest()[:16]


def fingerprint_of_all(values: Iterable[Any]) -> str:
    """``fingerprint([*values])``, with one of the values in memory at a time."""
    digest = hashlib.sha256(b"[")
    for number, value in enumerate(values):
        digest.update(f"{',' if number else ''}{_canonical(value)}".encode())
    digest.update(b"]")
    return digest.hexdigest()[:16]


def _canonical(value: Any) -> str:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """A JSON value that differs whenever the values differ; ``$`` marks types that JSON lacks."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return _finite(value)
    if isinstance(value, bytes):
        return {"$bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, BaseModel):
        return _plain(value.model_dump())
    if isinstance(value, (np.ndarray, np.generic)):
        return _array(np.asarray(value))
    if _is_tensor(value):
        return _tensor(value)
    raise TypeError(
        f"a {type(value).__module__}.{type(value).__qualname__} has no stable fingerprint: "
        "pass plain values, pydantic models, arrays or tensors"
    )


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise TypeError(f"{value} has no stable fingerprint: pass finite numbers")
    return value


def _key(key: Any) -> str:
    if type(key) is not str:
        raise TypeError(f"a dict with the key {key!r} has no stable fingerprint: keys must be strings")
    return f"${key}" if key.startswith("$") else key


def _array(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no stable fingerprint: pass numbers or bytes")
    little = array.astype(array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(np.ascontiguousarray(little).tobytes()).hexdigest()
    return {"$array": [little.dtype.str, list(array.shape), digest]}


def _is_tensor(value: Any) -> bool:
    """Whether the value is a torch tensor; torch is not imported, since no tensor exists before it is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _tensor(tensor: Any) -> dict[str, Any]:
    torch = sys.modules["torch"]
    # A copy, because a view of a single element keeps a stride that cannot be read as bytes.
    flat = tensor.detach().cpu().reshape(-1).clone(memory_format=torch.contiguous_format)
    digest = hashlib.sha256(flat.view(torch.uint8).numpy().tobytes()).hexdigest()
    return {"$tensor": [str(tensor.dtype), list(tensor.shape), digest]}
