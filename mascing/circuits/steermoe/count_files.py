"""Counts of selections from a file: a table with a row per expert, or two arrays.

Shape suffixes: L MoE layer, E expert.
"""

import hashlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from torch import Tensor

from mascing.conversations.intake.formats import format_of
from mascing.conversations.intake.opening import opened
from mascing.errors import DataError
from mascing.routers.spec import RouterSpec

COLUMNS = ("layer", "expert", "count", "tokens")
ARRAYS = ("counts", "tokens")
_MOST = 2**53
"""The largest whole number up to which every one is a float64 of its own."""

_NOT_A_COUNT = "not a number of tokens (rates are no counts)"


@dataclass(frozen=True)
class GivenCounts:
    """How many tokens selected each expert of a model, and how many each layer routed: int64 [L, E] and [L].

    ``origin`` holds the file's name and the sha256 of its content.
    """

    name: str
    origin: dict[str, str]
    selected_LE: Tensor
    tokens_L: Tensor


@dataclass(frozen=True)
class CountFile:
    """The counts of a file, before it is known whether they fit a model."""

    name: str
    sha256: str
    content: "_Table | _Arrays"

    def of(self, spec: RouterSpec) -> GivenCounts:
        """Place the counts in a model. Raises DataError if they have other layers or experts than the model."""
        try:
            selected_LE, tokens_L = self.content.of(spec)
        except DataError as error:
            raise DataError(f"{self.name} {error}") from error
        origin = {"file": PurePosixPath(self.name).name, "sha256": self.sha256}
        return GivenCounts(self.name, origin, selected_LE, tokens_L)


def read_counts(name: str, data: bytes) -> CountFile:
    """Read the counts of one class.

    A table (CSV, TSV, Parquet, Arrow, JSON or JSON Lines) has a row per expert with `COLUMNS`, ``layer`` being the
    depth in the model; other columns are ignored. An .npz or .safetensors has `ARRAYS`: counts [L, E], MoE layers in
    depth order, and tokens [L] or one number. Raises DataError, naming the place, for anything but whole numbers, for
    an expert that stands there twice, and for one that was selected more often than there were tokens.
    """
    if name.endswith(".npy"):
        raise DataError(f'{name} holds one array: save both, np.savez("counts.npz", counts=counts, tokens=tokens)')
    content = _arrays(name, data) if name.endswith((".npz", ".safetensors")) else _table(name, data)
    return CountFile(name, hashlib.sha256(data).hexdigest(), content)


@dataclass(frozen=True)
class _Table:
    """Counts by (depth, expert), and tokens by depth."""

    counts: Mapping[tuple[int, int], int]
    tokens: Mapping[int, int]

    def of(self, spec: RouterSpec) -> tuple[Tensor, Tensor]:
        places = [(depth, expert) for depth in spec.layer_ids for expert in range(spec.n_experts)]
        if strangers := sorted(self.counts.keys() - set(places)):
            depth, expert = strangers[0]
            raise DataError(f"counts layer {depth}, expert {expert}, but the model has {_shape(spec)}")
        if missing := [place for place in places if place not in self.counts]:
            depth, expert = missing[0]
            raise DataError(
                f"lacks {len(missing)} of {len(places)} experts, first layer {depth}, expert {expert}: the model has "
                f"{_shape(spec)}, and an expert that was never selected needs a row of count 0"
            )
        selected_LE = torch.tensor([self.counts[place] for place in places]).view(spec.n_layers, spec.n_experts)
        return selected_LE, torch.tensor([self.tokens[depth] for depth in spec.layer_ids])


@dataclass(frozen=True)
class _Arrays:
    """Counts [L, E] and tokens [L] of the MoE layers in depth order."""

    counts_LE: Tensor
    tokens_L: Tensor

    def of(self, spec: RouterSpec) -> tuple[Tensor, Tensor]:
        if tuple(self.counts_LE.shape) != (spec.n_layers, spec.n_experts):
            raise DataError(f"has counts of shape {list(self.counts_LE.shape)}, but the model has {_shape(spec)}")
        return self.counts_LE, self.tokens_L


def _table(name: str, data: bytes) -> _Table:
    counts: dict[tuple[int, int], int] = {}
    tokens: dict[int, int] = {}
    for raw in format_of(opened(name, lambda: io.BytesIO(data))).rows():
        where = f"{name}, row {raw.number}"
        if raw.value is None:
            raise DataError(f"{where}: {raw.problem}")
        depth, expert, count, routed = (_whole(raw.value, column, where) for column in COLUMNS)
        if (depth, expert) in counts:
            raise DataError(f"{where}: layer {depth}, expert {expert} stands there twice")
        if tokens.setdefault(depth, routed) != routed:
            raise DataError(f"{where}: layer {depth} has {routed} tokens, but {tokens[depth]} in an earlier row")
        if count > routed:
            raise DataError(f"{where}: count is {count}, more than the layer's {routed} tokens")
        counts[depth, expert] = count
    if not counts:
        raise DataError(f"{name} has no rows: a table of counts has a row per expert")
    return _Table(counts, tokens)


def _whole(row: Mapping[str, Any], column: str, where: str) -> int:
    if (value := row.get(column)) is None:
        raise DataError(f"{where} has no {column}: a table of counts has the columns {', '.join(COLUMNS)}")
    try:
        number = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if not 0 <= number <= _MOST or not number.is_integer():
        what = _NOT_A_COUNT if column in ("count", "tokens") else "not a number from 0"
        raise DataError(f"{where}: {column} is {value!r}, {what}")
    return int(number)


def _arrays(name: str, data: bytes) -> _Arrays:
    stored = _stored_arrays(name, data)
    if missing := [key for key in ARRAYS if key not in stored]:
        raise DataError(f"{name} has no array {' and none '.join(missing)}: it needs {' and '.join(ARRAYS)}")
    counts_LE, tokens = (_whole_numbers(stored[key], f"{name}: {key}") for key in ARRAYS)
    if counts_LE.dim() != 2 or tokens.numel() not in (1, len(counts_LE)):
        shapes = f"{list(counts_LE.shape)} and {list(tokens.shape)}"
        raise DataError(f"{name}: counts and tokens have shapes {shapes}: they need [layers, experts] and [layers]")
    tokens_L = tokens.flatten().expand(len(counts_LE))
    for layer, expert in (counts_LE > tokens_L[:, None]).nonzero().tolist()[:1]:
        count, routed = int(counts_LE[layer, expert]), int(tokens_L[layer])
        raise DataError(f"{name}: counts[{layer}, {expert}] is {count}, more than the layer's {routed} tokens")
    return _Arrays(counts_LE, tokens_L)


def _stored_arrays(name: str, data: bytes) -> Mapping[str, Any]:
    try:
        if name.endswith(".safetensors"):
            return dict(load_arrays(data))
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            return {key: stored[key] for key in ARRAYS if key in stored}
    except (SafetensorError, BadZipFile, zlib.error, OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(f"{name} cannot be read as arrays of numbers: {error}") from error


def _whole_numbers(array: Any, what: str) -> Tensor:
    """The array as int64, if all of it are counts."""
    if array.dtype.kind not in "uif":
        raise DataError(f"{what} holds {array.dtype}, not numbers")
    values = array.astype(np.float64)
    for place in np.argwhere(~((values >= 0) & (values <= _MOST) & (values == np.floor(values))))[:1].tolist():
        raise DataError(f"{what}{place} is {array[tuple(place)]}, {_NOT_A_COUNT}")
    return torch.from_numpy(values.astype(np.int64))


def _shape(spec: RouterSpec) -> str:
    ids = spec.layer_ids
    depths = f"{ids[0]} to {ids[-1]}" if ids == tuple(range(ids[0], ids[-1] + 1)) else ", ".join(map(str, ids))
    return f"{spec.n_layers} MoE layers (at depth {depths}) x {spec.n_experts} experts"
