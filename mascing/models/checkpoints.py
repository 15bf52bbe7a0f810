"""Where a checkpoint is: a local folder, a storage URL of one, or a hub id; and which weights it holds."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from mascing.errors import ModelError
from mascing.schemas.config import ModelConfig

# What transformers reads of a model folder; weights are safetensors alone, because other formats execute on load.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py")


def checkpoint_fingerprint(config: ModelConfig) -> str:
    """Identity of the weights and tokenizer without loading them.

    For a hub id the commit its revision names; for a folder or a storage URL the sha256 over the names and contents of
    its model files, the same wherever the folder lies. Raises ModelError where there is no such model.
    """
    if _is_url(config.path) or _is_folder(config.path):
        return _content_digest(config.path)
    return _hub_commit(config)


def pinned(config: ModelConfig) -> ModelConfig:
    """The config with a hub revision resolved to its commit, so that everybody who is given it loads the same weights.

    A revision such as ``main`` can move while a run is under way. A folder or a storage URL is returned as it is.
    Raises ModelError where there is no such model.
    """
    if _is_url(config.path) or _is_folder(config.path):
        return config
    return config.model_copy(update={"revision": _hub_commit(config)})


def model_name(config: ModelConfig) -> str:
    """The name that results and channels know a model by: a hub id as it is, a folder or URL by its last part."""
    path = config.path.rstrip("/")
    is_place = "://" in path or path.startswith((".", "/", "~")) or path.count("/") > 1
    return PurePosixPath(path).name if is_place else path


@contextmanager
def local_folder(config: ModelConfig) -> Iterator[Path]:
    """The checkpoint's files as a local folder; what had to be fetched from storage goes when the block ends.

    Raises ModelError where there is no such folder, object or hub id.
    """
    if _is_url(config.path):
        with TemporaryDirectory(prefix="mascing-model-") as folder:
            for name, data_path, filesystem in _stored_files(config.path):
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                filesystem.get_file(data_path, str(target))
            yield Path(folder)
    elif _is_folder(config.path):
        yield Path(config.path).expanduser()
    else:
        yield _hub_snapshot(config)


def _is_url(path: str) -> bool:
    return "://" in path


def _is_folder(path: str) -> bool:
    """Whether the path means a local folder. What neither exists nor looks like a hub id is a mistyped folder."""
    if Path(path).expanduser().is_dir():
        return True
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path) and not path.startswith("."):
        return False
    raise ModelError(f"model folder {path} does not exist")


def _stored_files(url: str) -> list[tuple[str, str, Any]]:
    """(name below the folder, path, file system) of each model file under the URL, by name."""
    from fsspec.core import url_to_fs

    try:
        filesystem, root = url_to_fs(url)
        paths = filesystem.find(root)
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"cannot read the model folder {url}: {one_line(error)}") from error
    root = root.rstrip("/")
    names = [(path[len(root) + 1 :], path, filesystem) for path in sorted(paths)]
    kept = [entry for entry in names if any(Path(entry[0]).match(pattern) for pattern in MODEL_FILES)]
    if not kept:
        raise ModelError(f"there is no model under {url}: no config.json, no weights")
    return kept


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


def _hub_snapshot(config: ModelConfig) -> Path:
    from huggingface_hub import snapshot_download

    with _hub_errors(config):
        # Folders below hold the same weights in other formats, where there are any.
        folder = snapshot_download(
            config.path,
            revision=config.revision,
            allow_patterns=list(MODEL_FILES),
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
        raise ModelError(f"{name} is no folder here, and the hub cannot be reached for it: {error}") from error
    except EntryNotFoundError as error:
        raise ModelError(f"{name} on the hub has no config.json: it is not a transformers checkpoint") from error
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(f"{name} cannot be fetched from the hub: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error's text on one line, cut at 300 characters, or its type where it has no text."""
    text = " ".join(str(error).split())
    if not text or isinstance(error, KeyError):  # whose text is the bare key
        text = f"{type(error).__name__} {text}".rstrip()
    return text if len(text) <= 300 else f"{text[:300]}..."
