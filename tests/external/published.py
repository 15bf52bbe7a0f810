"""Where published repositories lie on this machine, and pickles of theirs that are read without being run.

``MASCING_PUBLISHED`` names a folder that holds clones, each as ``owner+name``. No test downloads anything.
"""

import io
import os
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

VARIABLE = "MASCING_PUBLISHED"


def clone_of(repository: str) -> Path:
    """The clone of ``owner/name``; the test is skipped, and says which clone is missing, where there is none."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{repository} is not at hand: git clone it into $FOLDER/{_name(repository)} and set {VARIABLE}")
    clone = Path(folder, _name(repository))
    if not clone.is_dir():
        pytest.skip(f"{repository} is not at hand: {clone} is no folder")
    return clone


def counters_of(data: bytes) -> Any:
    """A pickle of lists of counters of numbers. Raises UnpicklingError if it names anything else."""
    return _Counters(io.BytesIO(data)).load()


def _name(repository: str) -> str:
    return repository.replace("/", "+")


def _dtype(name: Any, *layout: Any) -> Any:
    del layout
    if name not in ("i8", "f8"):
        raise pickle.UnpicklingError(f"an array of {name!r}")
    return np.dtype(name)


def _scalar(dtype: Any, data: bytes) -> Any:
    """A number of its bytes. NumPy's own function would unpickle the bytes of an object."""
    return np.frombuffer(data, dtype)[0].item()


_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "Counter"): Counter,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Counters(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return _KNOWN[module, name]
