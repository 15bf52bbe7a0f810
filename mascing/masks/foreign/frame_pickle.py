"""The columns of a pickled pandas frame, read without running anything that the pickle names.

A pickle is a program: whoever loads one runs whatever it asks for. This reader knows the few names that a frame of
numbers and texts consists of, puts inert stand-ins in their place, and refuses all others.
"""

import io
import pickle
import reprlib
from collections.abc import Mapping
from pickletools import genops
from typing import Any

import numpy as np

from mascing.errors import MaskError

Array = np.ndarray[Any, Any]


def columns_of(data: bytes) -> dict[str, Array]:
    """The columns of the frame by name. Raises MaskError for any other pickle."""
    try:
        _refuse_outsized(data)
        frame = _Frames(io.BytesIO(data)).load()
        if not isinstance(frame, _Frame):
            raise MaskError(f"the pickle holds no table, but {type(frame).__name__}")
        return _columns(frame.state["_mgr"])
    except MaskError:
        raise
    # A damaged or hostile pickle fails in any way that its instructions may take.
    except Exception as error:
        raise MaskError(f"the pickle cannot be read as a table of numbers: {type(error).__name__}: {error}") from error


_KEEP = {"PUT", "BINPUT", "LONG_BINPUT"}
"""Instructions to keep an object under a number: the unpickler takes memory for all numbers up to it."""


def _refuse_outsized(data: bytes) -> None:
    """Raise MaskError if reading takes more memory than the pickle's own size lets expect.

    A pickle of ten bytes may ask for room for 2 ** 32 objects. ``genops`` itself refuses contents that are cut off.
    """
    for instruction, number, _ in genops(data):
        if instruction.name in _KEEP and isinstance(number, int) and number > len(data):
            raise MaskError(f"the pickle asks for room for {number} objects and has {len(data)} bytes itself")


class _Inert:
    """A stand-in for an object of pandas or numpy: it keeps what it is made of and set to, and does nothing."""

    def __init__(self, *made_of: Any) -> None:
        self.made_of = made_of
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Inert): ...


class _Blocks(_Inert): ...


class _Index(_Inert): ...


class _Dtype(_Inert):
    """numpy's own would be changed by the state that a pickle gives it, for the whole process."""

    @property
    def real(self) -> np.dtype[Any]:
        """A type of numbers or objects; no records, which could name fields and types of their own."""
        name, order = self.made_of[0], self.state[1]
        if not isinstance(name, str) or name[:1] not in "biufO" or len(name) > 3 or order not in ("<", ">", "=", "|"):
            raise MaskError(f"the pickle holds an array of {reprlib.repr(name)}, not of numbers")
        return np.dtype(name).newbyteorder(order)


class _Array(_Inert):
    """An array, whose state is its version, shape, type, order and content; or whose content was a buffer."""

    @property
    def real(self) -> Array:
        """The array itself."""
        _, shape, dtype, fortran, content = self.state
        if dtype.real.kind == "O":
            # Not by assignment, which looks into lists of lists: a small pickle can hold one list many times over.
            values = np.fromiter(content, dtype=object, count=len(content))
        else:
            values = np.frombuffer(content, dtype=dtype.real)
        return values.reshape(shape, order="F" if fortran else "C")


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.state = (1, shape, dtype, order == "F", buffer)
    return array


def _new_index(kind: Any, made_of: Mapping[str, Any]) -> _Index:
    return _Index(made_of)


_KNOWN: dict[tuple[str, str], Any] = {
    ("builtins", "slice"): slice,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Inert,
    **{(module, "DataFrame"): _Frame for module in ("pandas", "pandas.core.frame")},
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
    ("pandas._libs.internals", "_unpickle_block"): _Inert,
    **{(module, "Index"): _Index for module in ("pandas", "pandas.core.indexes.base")},
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    **{(module, "RangeIndex"): _Index for module in ("pandas", "pandas.core.indexes.range")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
}


class _Frames(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise MaskError(
                f"the pickle asks for {module}.{name}, which a table of numbers does not need: it was not run. Read "
                "it where you trust it, and save the table as CSV"
            ) from None


def _columns(blocks: _Blocks) -> dict[str, Array]:
    parts, axes = blocks.made_of
    names = axes[0].made_of[0]["data"].real.tolist()
    if not all(isinstance(name, str | int) for name in names):
        raise MaskError("the pickle has columns whose names are neither texts nor numbers")
    found: dict[str, Array] = {}
    for part in parts:
        values, places, _ = part.made_of
        where = range(*places.indices(len(names))) if isinstance(places, slice) else places.real
        for row, place in zip(values.real, where, strict=True):
            found[names[place]] = row
    return found
