"""Traces of router logits: record them, store them as Parquet shards, read them back in parts that fit into memory.

``mascing.traces(url)`` opens those of a finished run; the package of that name is therefore callable.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """A module that calls the function of its name. Importing any part of it would hide the function otherwise."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module("mascing.runs.run_traces").traces(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
