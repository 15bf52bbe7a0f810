"""What is installed, what the machine allows, and what storage, Ray and Prefect say: each with what to do about it."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mascing.commands.surroundings.folders import refuse_unusable_folders, replacement
from mascing.commands.surroundings.proxies import proxies
from mascing.commands.surroundings.readiness import instead
from mascing.errors import MascingError, StorageError

Status = Literal["ok", "note", "missing"]
_INSTALL = "install with `pip install --constraint constraints.txt mascing`"
_GB = 10**9
_FREE_BYTES = 5 * _GB
_SHARED_MEMORY = Path("/dev/shm")
_SHARED_BYTES = 2 * _GB


@dataclass(frozen=True)
class Finding:
    """The result of one check. ``missing`` means that no run can work without it; ``message`` says how to get it."""

    status: Status
    what: str
    message: str


def findings(storage_url: str) -> Iterator[Finding]:
    """Run the checks one after another, quick ones first."""
    yield _python()
    yield from _packages()
    yield _torch()
    yield _proxy()
    yield _folders()
    yield from _full_disks(storage_url)
    yield from _shared_memory()
    yield _storage(storage_url)
    yield _prefect()
    yield _ray(os.environ.get("RAY_ADDRESS"))


def _python() -> Finding:
    installed, required = platform.python_version(), metadata.metadata("mascing")["Requires-Python"]
    if SpecifierSet(required).contains(installed, prereleases=True):
        return Finding("ok", "python", installed)
    return Finding(
        "missing", "python", f"{installed} does not fit {required}; make a virtual environment with a newer one"
    )


def _packages() -> Iterator[Finding]:
    """Compare every requirement of this package with the installed version."""
    for line in metadata.requires("mascing") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding("missing", requirement.name, f"not installed, needs {requirement.specifier}; {_INSTALL}")
            continue
        if requirement.specifier.contains(installed, prereleases=True):
            yield Finding("ok", requirement.name, installed)
        else:
            yield Finding("missing", requirement.name, f"{installed} does not fit {requirement.specifier}; {_INSTALL}")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("missing", "compute", f"torch cannot be imported ({error}); {_INSTALL}")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    threads = f"{os.cpu_count()} CPUs, {torch.get_num_threads()} torch threads"
    if gpus:
        return Finding("ok", "compute", f"{threads}, {len(gpus)} GPUs: {', '.join(sorted(set(gpus)))}")
    return Finding("note", "compute", f"{threads}, no GPU that torch can use: enough for the demo and small models")


def _proxy() -> Finding:
    named = proxies(os.environ)
    if not named:
        return Finding("ok", "proxy", "the environment names none")
    return Finding(
        "note",
        "proxy",
        f"{', '.join(sorted(named))}: a run reaches this machine past it (no_proxy={os.environ['no_proxy']}); add "
        "servers that are reached without it to no_proxy",
    )


def _folders() -> Finding:
    try:
        refuse_unusable_folders(os.environ)
    except MascingError as error:
        return Finding("missing", "folders", str(error))
    folder = replacement(os.environ)
    if folder:
        return Finding("note", "folders", instead(folder))
    return Finding("ok", "folders", "the home folder and the folder for temporary files can be written")


def _full_disks(storage_url: str) -> Iterator[Finding]:
    """A note for each disk that a run writes to and that is nearly full."""
    places = {"temporary files": Path(os.environ.get("TMPDIR", "/tmp")), "home": Path.home()}
    if "://" not in storage_url:
        places["storage"] = Path(storage_url).expanduser().absolute()
    for name, folder in places.items():
        existing = next(place for place in (folder, *folder.parents) if os.path.exists(place))
        free = shutil.disk_usage(existing).free
        if free < _FREE_BYTES:
            yield Finding(
                "note", "disk", f"{name}: {free / _GB:.1f} GB free at {existing}: make room before a long run"
            )


def _shared_memory() -> Iterator[Finding]:
    """A note where Ray would keep its objects on the disk."""
    if _SHARED_MEMORY.exists() and (size := shutil.disk_usage(_SHARED_MEMORY).total) < _SHARED_BYTES:
        yield Finding(
            "note",
            "memory",
            f"{_SHARED_MEMORY} has {size / _GB:.2f} GB, so a local Ray instance works on the disk: start the container "
            "with --shm-size=4g",
        )


def _storage(url: str) -> Finding:
    from mascing.storage.object_storage import Storage

    try:
        opened = Storage.open(url)
    except StorageError as error:
        return Finding("missing", "storage", str(error))
    return Finding("ok", "storage", f"{opened.url}: writable, and refuses a second create of the same object")


def _prefect() -> Finding:
    try:
        from mascing.flows.prefect_server import server_version

        server = server_version()
    except ImportError as error:
        return Finding("missing", "prefect", f"cannot be imported ({error}); {_INSTALL}")
    except MascingError as error:
        return Finding("missing", "prefect", str(error))
    if server is None:
        return Finding("note", "prefect", "no PREFECT_API_URL: each run starts a server of its own, about 20 s")
    return Finding("ok", "prefect", f"{server[0]} answers: {server[1]}")


def _ray(address: str | None) -> Finding:
    try:
        import ray

        from mascing.tasks.running.cluster import join_cluster, start_local

        if address:
            join_cluster()
        else:
            start_local(cpus=1)
    except ImportError as error:
        return Finding("missing", "ray", f"cannot be imported ({error}); {_INSTALL}")
    except MascingError as error:
        return Finding("missing", "ray", str(error))
    resources = ray.cluster_resources()
    ray.shutdown()
    if not address:
        return Finding("ok", "ray", "a local instance starts")
    size = f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    return Finding("ok", "ray", f"the cluster at {address} answers: {size}")
