"""Fingerprints: equal values give equal names on any machine, in any process and order of keys."""

import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
from pydantic import BaseModel


@dataclass(frozen=True)
class Streamed:
    """A list for :func:`fingerprint` of which one item is in memory at a time; it is read once."""

    items: Iterable[Any]


def fingerprint(value: Any) -> str:
    """Return 16 hex characters that identify a value by its content.

    Takes None, booleans, numbers, strings, bytes, lists and tuples (alike), dicts with string keys (in any order),
    pydantic models, numpy arrays and torch tensors (dtype, shape and bytes). `Streamed` counts as a list, and may be
    the value itself or stand in its list or dict. Raises TypeError for anything else.
    It also raises for NaN, because a name that does not identify its value is worse than none.
    """
    digest = hashlib.sha256()
    for text in _canonical(value):
        digest.update(text.encode())
    return digest.hexdigest()[:16]


def _canonical(value: Any) -> Iterator[str]:
    """The value as JSON, in pieces where streamed items are in it."""
    if isinstance(value, dict) and any(isinstance(item, Streamed) for item in value.values()):
        named = sorted(((_key(key), item) for key, item in value.items()), key=itemgetter(0))
        yield from _enclosed("{}", (chain([f"{json.dumps(key)}:"], _canonical(item)) for key, item in named))
    elif isinstance(value, Streamed):
        yield from _enclosed("[]", map(_canonical, value.items))
    elif isinstance(value, list) and any(isinstance(item, Streamed) for item in value):
        yield from _enclosed("[]", map(_canonical, value))
    else:
        yield json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _enclosed(brackets: str, items: Iterable[Iterable[str]]) -> Iterator[str]:
    yield brackets[0]
    for number, item in enumerate(items):
        yield "," if number else ""
        yield from item
    yield brackets[1]


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
