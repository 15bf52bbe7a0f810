"""Folders that the libraries of a run write to: replace those that cannot be written, or say what to set.

Prefect, the hub's client and Triton write below the home folder, Ray below the folder for temporary files. In a
container with another user id the home folder is often absent or read-only.
"""

import getpass
import os
import secrets
import tempfile
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from mascing.errors import MascingError
from mascing.tasks.guarding.sessions import ray_folder

_LONGEST_SOCKET = 103
"""Bytes of a Unix socket's path: 107 on Linux, 103 on macOS."""
_RAY_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
"""What Ray adds to its temporary folder for its longest socket."""
_RAY_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
_MOVABLE = ("HOME", "PREFECT_HOME", "HF_HOME", "TRITON_HOME")


def use_writable_folders(environment: MutableMapping[str, str]) -> None:
    """Set the variables that name folders, where the default cannot be written and the user has set none.

    The replacement is a folder of this user among the temporary files. Without such a folder nothing is changed:
    :func:`refuse_unusable_folders` says so when a run starts.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return
    home = _home(environment)
    if not (_within_reach(home) or _can_be_written(home)):
        home = _private_folder()
        environment["HOME"] = str(home)
    _move_prefect(environment, home / ".prefect")
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "huggingface"
    if not cache.is_dir():  # a read-only cache is kept for the models in it
        _move(environment, "HF_HOME", cache)
    _move(environment, "TRITON_HOME", home)
    if "TORCHINDUCTOR_CACHE_DIR" not in environment and not _user_has_a_name():
        environment["TORCHINDUCTOR_CACHE_DIR"] = str(_private_folder() / "torchinductor")
    _move_ray(environment)
    _move_ray_token(environment, home / ".ray")


def replacement(environment: Mapping[str, str]) -> str | None:
    """The folder that stands in for the home folder, or None if nothing was replaced."""
    ours = str(Path(tempfile.gettempdir(), _PRIVATE))
    return ours if any(environment.get(name, "").startswith(ours) for name in _MOVABLE) else None


def refuse_unusable_folders(environment: Mapping[str, str]) -> None:
    """Raise MascingError if Prefect or Ray could not write where the environment sends them."""
    temporary = environment.get("TMPDIR")
    if temporary and not os.access(temporary, os.W_OK | os.X_OK):
        raise MascingError(f"TMPDIR {temporary} is not a folder that can be written: set TMPDIR to one that is")
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        raise MascingError("no folder for temporary files can be written: set TMPDIR to one that can") from None
    _try_to_write("TMPDIR", Path(folder))
    if not environment.get("PREFECT_API_URL"):
        _try_to_write("PREFECT_HOME", Path(environment.get("PREFECT_HOME") or _home(environment) / ".prefect"))
    if environment.get("RAY_ADDRESS"):
        return
    ray = ray_folder(environment)
    if not _fits_sockets(ray):
        longest = _LONGEST_SOCKET - len(_RAY_SOCKET)
        raise MascingError(
            f"{ray} is too long for Ray's sockets: set RAY_TMPDIR to a folder of at most {longest} bytes"
        )
    _try_to_write("RAY_TMPDIR", Path(ray, "ray"))


_PRIVATE = f"mascing-{os.getuid()}"


def _private_folder() -> Path:
    """A folder of this user among the temporary files, the same in every run."""
    folder = Path(tempfile.gettempdir(), _PRIVATE)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid == os.getuid() and not folder.is_symlink():
            return folder
    except OSError:
        pass
    return Path(tempfile.mkdtemp(prefix=f"{_PRIVATE}-"))  # another user has taken the name


def _home(environment: Mapping[str, str]) -> Path:
    """The home folder; a relative path where neither ``HOME`` nor the system knows one."""
    return Path(environment["HOME"]) if environment.get("HOME") else Path(os.path.expanduser("~"))


def _within_reach(folder: Path) -> bool:
    return folder.is_absolute() and os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)


def _can_be_written(folder: Path) -> bool:
    """Whether the folder, or else the nearest one above it that exists, can be written; creates nothing."""
    if not folder.is_absolute():
        return False
    nearest = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _move(environment: MutableMapping[str, str], variable: str, default: Path) -> None:
    """Set a variable that is not set if its default cannot be written."""
    if variable not in environment and not _can_be_written(default):
        environment[variable] = str(_private_folder() / default.name)


def _move_prefect(environment: MutableMapping[str, str], folder: Path) -> None:
    """Move Prefect's home for its database alone as well: another user may have made it. Keep the profiles."""
    database, profiles = folder / "prefect.db", folder / "profiles.toml"
    writable = _can_be_written(folder) and (not os.path.exists(database) or os.access(database, os.W_OK))
    if writable or "PREFECT_HOME" in environment:
        return
    environment["PREFECT_HOME"] = str(_private_folder() / folder.name)
    if os.access(profiles, os.R_OK):
        environment.setdefault("PREFECT_PROFILES_PATH", str(profiles))


def _user_has_a_name() -> bool:
    try:
        return bool(getpass.getuser())
    except (KeyError, OSError):
        return False


def _move_ray(environment: MutableMapping[str, str]) -> None:
    if environment.get("RAY_ADDRESS") or "RAY_TMPDIR" in environment or _suits_ray(ray_folder(environment)):
        return
    for folder in (*_SHORT_FOLDERS, str(_private_folder())):
        if _suits_ray(folder):
            environment["RAY_TMPDIR"] = folder
            return


def _move_ray_token(environment: MutableMapping[str, str], folder: Path) -> None:
    """Give a local Ray instance a token of its own where it cannot store one for this user."""
    chosen = any(name in environment for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", *_RAY_TOKENS))
    if not (chosen or _can_be_written(folder) or os.access(folder / "auth_token", os.R_OK)):
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _suits_ray(folder: str) -> bool:
    return _fits_sockets(folder) and _can_be_written(Path(folder, "ray"))


def _fits_sockets(folder: str) -> bool:
    return len(os.fsencode(folder)) + len(_RAY_SOCKET) <= _LONGEST_SOCKET


def _try_to_write(variable: str, folder: Path) -> None:
    """Write a block into the folder, which also fails on a full disk."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        raise MascingError(
            f"{folder} cannot be written ({error.strerror}): make room there, or set {variable} to another folder"
        ) from None
