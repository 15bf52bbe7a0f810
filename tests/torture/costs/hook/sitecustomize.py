"""With this folder in PYTHONPATH, every process of a run notes in ``MASCING_JOURNAL`` the units that it begins to make.

All stages make their units through one function, which is wrapped as it is imported. A line is appended in one write
before the work begins, so a process that is killed has noted all that it had begun.
"""

import importlib.util
import os
import sys
from importlib.abc import MetaPathFinder
from typing import Any

_MODULE = "mascing.tasks.running.pieces"


def _noting(module: Any) -> None:
    stored, journal = module.stored, os.environ["MASCING_JOURNAL"]

    def noted(storage: Any, path: str, make: Any) -> Any:
        def making() -> Any:
            descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(descriptor, f"{path}\n".encode())
            os.close(descriptor)
            return make()

        return stored(storage, path, making)

    module.stored = noted


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        loader: Any = spec.loader
        execute = loader.exec_module

        def executed(module: Any) -> None:
            execute(module)
            _noting(module)

        loader.exec_module = executed
        return spec


sys.meta_path.insert(0, _Finder())
