"""Input files outside the storage URL that the config names: conversations, and a testbed's truth."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mascing.errors import DataError


@dataclass(frozen=True)
class Source:
    """The bytes of one input file; their hash identifies a run, never the file's location."""

    data: bytes

    @property
    def sha256(self) -> str:
        """Hash of the content."""
        return hashlib.sha256(self.data).hexdigest()


def read_source(url: str) -> Source:
    """Read a local path or a URL that fsspec knows (``s3://bucket/key``).

    Raises:
        DataError: if nothing can be read there.
    """
    try:
        if "://" not in url:
            return Source(Path(url).expanduser().read_bytes())
        import fsspec

        with fsspec.open(url, "rb") as file:
            return Source(file.read())
    except (OSError, ValueError, ImportError) as error:
        raise DataError(f"cannot read {url}: {error}; check the path, and the credentials if it is a URL") from error
