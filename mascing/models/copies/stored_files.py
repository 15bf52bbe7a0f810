"""The files of a model folder under a storage URL, and what tells whether one of them changed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mascing.errors import ModelError
from mascing.reachability import refuse_silent_endpoint

# The files of a model folder that transformers reads. Weights must be safetensors: other formats run code on load.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py")


@dataclass(frozen=True)
class StoredFile:
    """A file of a model folder: its name in the folder, its path on the file system, and its size in bytes.

    ``state`` changes when the content does: the store's ETag, or all that a store without ETags tells of the file.
    """

    name: str
    path: str
    filesystem: Any
    size: int
    state: str

    @property
    def md5(self) -> str | None:
        """The MD5 that the ETag is, if the object was put in one part and not encrypted with a key of its own."""
        digits = self.state.strip('"').lower()
        return digits if len(digits) == 32 and set(digits) <= set("0123456789abcdef") else None


def stored_files(url: str) -> list[StoredFile]:
    """The model files under a URL, sorted by name.

    Raises ModelError if there are none, and one of `reachability.url_errors` if the URL cannot be listed.
    """
    from fsspec.core import url_to_fs

    refuse_silent_endpoint(url)
    filesystem, root = url_to_fs(url)
    filesystem.invalidate_cache(root)  # a listing that fsspec keeps tells of files as they were
    root = root.rstrip("/")
    files = [
        StoredFile(path[len(root) + 1 :], path, filesystem, told["size"], _state(told))
        for path, told in sorted(filesystem.find(root, detail=True).items())
    ]
    model_files = [file for file in files if is_model_file(Path(file.name))]
    if not model_files:
        raise ModelError(f"there is no model under {url}: no config.json, no weights")
    return model_files


def is_model_file(path: Path) -> bool:
    """Whether transformers reads a file of this name."""
    return any(path.match(pattern) for pattern in MODEL_FILES)


def is_weights(name: str) -> bool:
    """Whether the file holds weights."""
    return name.endswith(".safetensors")


def _state(told: dict[str, Any]) -> str:
    return str(told.get("ETag") or json.dumps(told, sort_keys=True, default=str))
