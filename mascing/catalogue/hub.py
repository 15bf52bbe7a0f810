"""Rows of data sets that `datasets` loads, from the hub or from addresses of files; as JSON Lines, a row at a time."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from mascing.errors import ConfigError, DataError
from mascing.schemas.catalogue.sources import FILE_FORMATS, DatasetConfig

if TYPE_CHECKING:
    from mascing.conversations.intake.opening import Opener

HUB = "https://huggingface.co/datasets"


def rows_of(dataset: DatasetConfig) -> "Mapping[str, Opener]":
    """Load a data set; how its rows are opened, by its name. No code of the data set runs.

    Raises ConfigError if `datasets` is not installed, and DataError, which says what to do, if the data set cannot be
    had: without a network, without access, or where it was moved or changed.
    """
    loaded = _loaded(dataset)
    return {address(dataset): lambda: cast(BinaryIO, io.BufferedReader(_Lines(loaded)))}


def address(dataset: DatasetConfig) -> str:
    """The name of a data set, for a sentence."""
    if dataset.path in FILE_FORMATS:
        return ", ".join(dataset.files)
    config = f", {dataset.config}" if dataset.config else ""
    return f"{dataset.path}{config} ({dataset.split}{f' at {dataset.revision[:12]}' if dataset.revision else ''})"


def _loaded(dataset: DatasetConfig) -> Any:
    try:
        # Imported here: it takes seconds, and only a run that reads a data set needs it.
        import datasets
        from datasets.exceptions import DatasetsError
    except ImportError as error:
        raise ConfigError(
            f"{address(dataset)} is read by the package `datasets`: pip install 'mascing[datasets]', or give a local "
            "copy by `file`"
        ) from error
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(
            dataset.path,
            dataset.config,
            split=dataset.split,
            revision=dataset.revision,
            data_files=list(dataset.files) or None,
        )
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise DataError(
            f"the data set {address(dataset)} cannot be loaded: {_said(error)}; {_remedy(dataset, error)}"
        ) from error


def _said(error: Exception) -> str:
    """The first sentence of what `datasets` says, and of what lies behind it."""
    causes = [error, *([error.__cause__] if error.__cause__ else [])]
    return ": ".join(dict.fromkeys(" ".join(str(cause).split())[:200].rstrip(".") for cause in causes))


def _remedy(dataset: DatasetConfig, error: Exception) -> str:
    copy = "or give a local copy by `file`"
    if "gated" in str(error) or "401" in str(error) or "403" in str(error):
        return (
            f"accept its conditions at {HUB}/{dataset.path}, set HF_TOKEN to a token of the account that did, "
            f"and run again, {copy}"
        )
    by_address = dataset.path in FILE_FORMATS and isinstance(error, FileNotFoundError)  # as `datasets` says it offline
    if by_address or isinstance(error, ConnectionError):
        return (
            "where there is no network, load it once on a machine that has one, with the same HF_HOME, and set "
            f"HF_HUB_OFFLINE=1, {copy}"
        )
    return f"look whether it is still there, and with this split and revision, {copy}"


class _Lines(io.RawIOBase):
    """The rows of a data set as the bytes of a JSON Lines file, made as they are read."""

    def __init__(self, rows: Any) -> None:
        self._lines = _lines(rows)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._lines, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _lines(rows: Any) -> Iterator[bytes]:
    for row in rows:
        yield f"{json.dumps(row, ensure_ascii=False, default=str)}\n".encode()
