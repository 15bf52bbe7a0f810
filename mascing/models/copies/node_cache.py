"""What a machine keeps between runs, in the user's cache folder: copies of stored models, and hashes of weights."""

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """``$XDG_CACHE_HOME/mascing/<kind>``, by default below ``~/.cache``; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "mascing", kind)
