"""Why an engine did not start, from the process in which it failed: to its front vLLM says only that one did."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from mascing.models.checkpoints import one_line

_FILE = "MASCING_START_FAILURE"
"""Names the file for it. All processes of vLLM have the environment; its settings would rename its compiled graphs."""


@contextmanager
def start_failure() -> Iterator[Callable[[], str | None]]:
    """Have the engines that are started in the block say why they fail; yields what reads it, None if none said so."""
    with TemporaryDirectory(prefix="mascing-") as folder:
        file = Path(folder) / "failure"
        os.environ[_FILE] = str(file)
        try:
            yield lambda: file.read_text(encoding="utf-8") if file.exists() else None
        finally:
            os.environ.pop(_FILE)


def tell_start_failure() -> None:
    """Have this process of vLLM say why its engine does not start, where whoever started it wants to know."""
    if _FILE in os.environ:
        logging.getLogger("vllm").addHandler(_Failure(Path(os.environ[_FILE])))


class _Failure(logging.Handler):
    """Writes down the error with which vLLM logs that a worker or an engine failed to start, the first of them."""

    def __init__(self, file: Path) -> None:
        super().__init__(logging.ERROR)
        self._file = file

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and "failed to start" in record.getMessage():
            with suppress(FileExistsError), self._file.open("x", encoding="utf-8") as file:
                file.write(one_line(error))
