"""Locate a checkpoint (a local folder, the storage URL of one, or a hub id) and identify its weights."""

import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path, PurePosixPath

from mascing.errors import ModelError
from mascing.models.copies.node_copy import node_copy
from mascing.models.copies.stored_files import MODEL_FILES, is_model_file, is_weights, stored_files
from mascing.models.copies.weight_digests import local_sha256, stored_sha256
from mascing.reachability import url_errors
from mascing.schemas.config import ModelConfig, RunConfig


def checkpoint_fingerprint(config: ModelConfig) -> str:
    """Identity of the weights and tokenizer without loading them.

    For a hub id it is the commit that its revision names. For a folder or a storage URL it is the sha256 over the names
    and contents of the model files, independent of their location. Raises ModelError if the model does not exist.
    """
    if _is_url(config.path):
        with _storage_errors(config.path):
            return _content_digest((file.name, stored_sha256(file)) for file in stored_files(config.path))
    if _is_folder(config.path):
        files = stored_files(Path(config.path).expanduser().resolve().as_uri())
        return _content_digest((file.name, local_sha256(Path(file.path))) for file in files)
    return _hub_commit(config)


def rendering_fingerprint(config: ModelConfig) -> str:
    """Identity of the files that turn conversations into tokens and limit their length: all but the weights.

    It is independent of their location. Raises ModelError if the model does not exist.
    """
    with local_folder(config, weights=False) as folder:
        files = sorted(path for path in folder.rglob("*") if path.is_file() and is_model_file(path))
        return _content_digest(
            (path.relative_to(folder).as_posix(), local_sha256(path)) for path in files if not is_weights(path.name)
        )


def pinned(config: ModelConfig) -> ModelConfig:
    """The config with its hub revision resolved to a commit, so that every process loads the same weights.

    A revision such as ``main`` can move during a run. The config of a folder or a storage URL is returned unchanged.
    Raises ModelError if the model does not exist.
    """
    if _is_url(config.path) or _is_folder(config.path):
        return config
    return config.model_copy(update={"revision": _hub_commit(config)})


def with_pinned_model(config: RunConfig) -> RunConfig:
    """The configuration of a run with its model :func:`pinned`."""
    return config.model_copy(update={"model": pinned(config.model)})


def is_hub_id(path: str) -> bool:
    """Whether the path has the form of a hub id: a name, or an owner and a name."""
    return re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path) is not None and not path.startswith(".")


def model_name(config: ModelConfig) -> str:
    """The name of a model in results and channels: the hub id, or the last part of the folder or URL."""
    path = config.path.rstrip("/")
    if "://" in path:
        return PurePosixPath(path).name
    if config.path.startswith((".", "/", "~")) or path.count("/") > 1:
        return PurePosixPath(os.path.abspath(os.path.expanduser(config.path))).name  # `.` has the name of its folder
    return path


@contextmanager
def local_folder(config: ModelConfig, weights: bool = True) -> Iterator[Path]:
    """The checkpoint's files as a local folder; those of a storage URL are copied once and stay for later runs.

    Without ``weights`` these are not fetched. Raises ModelError if the folder, the object or the hub id does not exist,
    or if this machine has no room for a copy.
    """
    if _is_url(config.path):
        with _storage_errors(config.path):
            files = [file for file in stored_files(config.path) if weights or not is_weights(file.name)]
            folder = node_copy(config.path, files)
        yield folder
    elif _is_folder(config.path):
        yield Path(config.path).expanduser()
    else:
        yield _hub_snapshot(config, weights)


def _is_url(path: str) -> bool:
    return "://" in path


def _is_folder(path: str) -> bool:
    """Whether the path is a local folder. Raises ModelError if it does not exist and does not look like a hub id."""
    if Path(path).expanduser().is_dir():
        return True
    if is_hub_id(path):
        return False
    raise ModelError(
        f"the model folder {path} does not exist: correct model.path, which is a folder, a URL or a hub id"
    )


@contextmanager
def _storage_errors(url: str) -> Iterator[None]:
    try:
        yield
    except url_errors() as error:
        raise ModelError(
            f"cannot read the model folder {url} ({one_line(error)}): check model.path, and the credentials and "
            "endpoint if it is on S3"
        ) from error


def _content_digest(hashed: Iterable[tuple[str, str]]) -> str:
    """The hash of (name, SHA-256) of files."""
    return hashlib.sha256("".join(f"{name}\0{digest}\n" for name, digest in hashed).encode()).hexdigest()


def _hub_snapshot(config: ModelConfig, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    with _hub_errors(config):
        # Weights in subfolders, if any, are the same weights in other formats.
        folder = snapshot_download(
            config.path,
            revision=config.revision,
            allow_patterns=[pattern for pattern in MODEL_FILES if weights or not is_weights(pattern)],
            ignore_patterns=["*/*.safetensors"],
            local_files_only=_SILENCE.lasts,
        )
    return Path(folder)


def _hub_commit(config: ModelConfig) -> str:
    from huggingface_hub import hf_hub_download

    with _hub_errors(config):
        # The hub's cache keeps a file under the commit that the revision names.
        cached = _SILENCE.lasts
        file = hf_hub_download(config.path, "config.json", revision=config.revision, local_files_only=cached)
        return Path(file).parent.name


class _Silence:
    """Whether the hub did not answer lately: its client tries each question again for half a minute.

    While it lasts, only the hub's cache is asked.
    """

    _SECONDS = 60.0

    def __init__(self) -> None:
        self._until = -inf

    @property
    def lasts(self) -> bool:
        return time.monotonic() < self._until

    def begin(self) -> None:
        if not self.lasts:
            self._until = time.monotonic() + self._SECONDS


_SILENCE = _Silence()


@contextmanager
def _hub_errors(config: ModelConfig) -> Iterator[None]:
    from huggingface_hub import logging as hub_logging
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = config.path if config.revision is None else f"{config.path} at revision {config.revision}"
    said = hub_logging.get_verbosity()
    hub_logging.set_verbosity_error()  # the error says it once, and not each of the client's retries
    try:
        yield
    except GatedRepoError as error:
        raise ModelError(f"{name} is gated: accept its terms on the hub and log in with `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{config.path} has no revision {config.revision} on the hub") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{name} is neither a folder here nor a model on the hub") from error
    except LocalEntryNotFoundError as error:
        _SILENCE.begin()
        raise ModelError(
            f"{name} is no folder here, and the hub cannot be reached for it: go online, or give the path of a folder"
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(
            f"{name} on the hub has no config.json: it is no transformers checkpoint; merge an adapter into its base "
            "model first"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(f"{name} cannot be fetched from the hub: {one_line(error)}") from error
    finally:
        hub_logging.set_verbosity(said)


def one_line(error: BaseException) -> str:
    """An error's text on one line, cut at 300 characters; its type if it has no text."""
    text = " ".join(str(error).split())
    if not text or isinstance(error, KeyError):  # a KeyError's text is only the key
        text = f"{type(error).__name__} {text}".rstrip()
    return text if len(text) <= 300 else f"{text[:300]}..."
