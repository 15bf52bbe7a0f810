"""Locate a checkpoint (a local folder, the storage URL of one, or a hub id) and identify its weights."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from mascing.errors import ModelError
from mascing.reachability import refuse_silent_endpoint, url_errors
from mascing.schemas.config import ModelConfig, RunConfig

# The files of a model folder that transformers reads. Weights must be safetensors: other formats run code on load.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py")


def checkpoint_fingerprint(config: ModelConfig) -> str:
    """Identity of the weights and tokenizer without loading them.

    For a hub id it is the commit that its revision names. For a folder or a storage URL it is the sha256 over the names
    and contents of the model files, independent of their location. Raises ModelError if the model does not exist.
    """
    if _is_url(config.path) or _is_folder(config.path):
        return _content_digest(config.path)
    return _hub_commit(config)


def rendering_fingerprint(config: ModelConfig) -> str:
    """Identity of the files that turn conversations into tokens and limit their length: all but the weights.

    It is independent of their location. Raises ModelError if the model does not exist.
    """
    digest = hashlib.sha256()
    with local_folder(config, weights=False) as folder:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if path.suffix != ".safetensors" and any(path.match(pattern) for pattern in MODEL_FILES):
                content = hashlib.sha256(path.read_bytes()).hexdigest()
                digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


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
    """The checkpoint's files as a local folder; a copy fetched from storage is deleted when the block ends.

    Without ``weights`` these are not fetched. Raises ModelError if the folder, the object or the hub id does not exist.
    """
    if _is_url(config.path):
        with TemporaryDirectory(prefix="mascing-model-") as folder:
            for name, data_path, filesystem in _stored_files(config.path):
                if _is_weights(name) and not weights:
                    continue
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                filesystem.get_file(data_path, str(target))
            yield Path(folder)
    elif _is_folder(config.path):
        yield Path(config.path).expanduser()
    else:
        yield _hub_snapshot(config, weights)


def _is_url(path: str) -> bool:
    return "://" in path


def _is_weights(name: str) -> bool:
    return name.endswith(".safetensors")


def _is_folder(path: str) -> bool:
    """Whether the path is a local folder. Raises ModelError if it does not exist and does not look like a hub id."""
    if Path(path).expanduser().is_dir():
        return True
    if is_hub_id(path):
        return False
    raise ModelError(
        f"the model folder {path} does not exist: correct model.path, which is a folder, a URL or a hub id"
    )


def _stored_files(url: str) -> list[tuple[str, str, Any]]:
    """(name relative to the URL, path, file system) of each model file under the URL, sorted by name."""
    from fsspec.core import url_to_fs

    try:
        refuse_silent_endpoint(url)
        filesystem, root = url_to_fs(url)
        paths = filesystem.find(root)
    except url_errors() as error:
        raise ModelError(
            f"cannot read the model folder {url} ({one_line(error)}): check model.path, and the credentials and "
            "endpoint if it is on S3"
        ) from error
    root = root.rstrip("/")
    files = [(path[len(root) + 1 :], path, filesystem) for path in sorted(paths)]
    model_files = [file for file in files if any(Path(file[0]).match(pattern) for pattern in MODEL_FILES)]
    if not model_files:
        raise ModelError(f"there is no model under {url}: no config.json, no weights")
    return model_files


def _content_digest(path: str) -> str:
    digest = hashlib.sha256()
    url = path if _is_url(path) else Path(path).expanduser().resolve().as_uri()
    for name, data_path, filesystem in _stored_files(url):
        content = hashlib.sha256()
        with filesystem.open(data_path, "rb") as file:
            while block := file.read(2**22):
                content.update(block)
        digest.update(f"{name}\0{content.hexdigest()}\n".encode())
    return digest.hexdigest()


def _hub_snapshot(config: ModelConfig, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    with _hub_errors(config):
        # Weights in subfolders, if any, are the same weights in other formats.
        folder = snapshot_download(
            config.path,
            revision=config.revision,
            allow_patterns=[pattern for pattern in MODEL_FILES if weights or not _is_weights(pattern)],
            ignore_patterns=["*/*.safetensors"],
        )
    return Path(folder)


def _hub_commit(config: ModelConfig) -> str:
    from huggingface_hub import hf_hub_download

    with _hub_errors(config):
        # The hub's cache keeps a file under the commit that the revision names.
        return Path(hf_hub_download(config.path, "config.json", revision=config.revision)).parent.name


@contextmanager
def _hub_errors(config: ModelConfig) -> Iterator[None]:
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
    try:
        yield
    except GatedRepoError as error:
        raise ModelError(f"{name} is gated: accept its terms on the hub and log in with `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{config.path} has no revision {config.revision} on the hub") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{name} is neither a folder here nor a model on the hub") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(
            f"{name} is no folder here, and the hub cannot be reached for it ({one_line(error)}): go "
            "online, or give the path of a folder"
        ) from error
    except EntryNotFoundError as error:
        raise ModelError(
            f"{name} on the hub has no config.json: it is no transformers checkpoint; merge an adapter into its base "
            "model first"
        ) from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(f"{name} cannot be fetched from the hub: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error's text on one line, cut at 300 characters; its type if it has no text."""
    text = " ".join(str(error).split())
    if not text or isinstance(error, KeyError):  # a KeyError's text is only the key
        text = f"{type(error).__name__} {text}".rstrip()
    return text if len(text) <= 300 else f"{text[:300]}..."
