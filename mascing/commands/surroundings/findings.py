"""What is installed, what the machine allows, and what storage, Ray and Prefect say: each with what to do about it."""

import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mascing.commands.surroundings.finding import INSTALL, Finding
from mascing.commands.surroundings.folders import refuse_unusable_folders, replacement
from mascing.commands.surroundings.model_memory import room_for
from mascing.commands.surroundings.proxies import hosts_through_proxy, only_this_machine, proxies
from mascing.commands.surroundings.readiness import instead
from mascing.commands.surroundings.services import dashboard, prefect, ray, storage, stuck
from mascing.commands.surroundings.serving_packages import serving_packages
from mascing.errors import MascingError
from mascing.tasks.guarding.leftovers import left_folders, leftovers

_GB = 10**9
_FREE_BYTES = 5 * _GB
_SHARED_MEMORY = Path("/dev/shm")
_SHARED_BYTES = 2 * _GB


def findings(storage_url: str, model: str | None = None) -> Iterator[Finding]:
    """Run the checks one after another, quick ones first. ``model`` is a folder, a storage URL or a hub id."""
    yield _python()
    yield from _packages()
    yield _torch()
    yield from serving_packages()
    if model is not None:
        yield room_for(model)
    yield _proxy()
    yield _folders()
    yield from _full_disks(storage_url)
    yield from _shared_memory()
    yield from _left_behind()
    yield storage(storage_url)
    server = prefect()
    yield server
    if server.status == "ok":
        yield from stuck()
    yield ray(os.environ.get("RAY_ADDRESS"))
    yield from dashboard()


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
            yield Finding("missing", requirement.name, f"not installed, needs {requirement.specifier}; {INSTALL}")
            continue
        if requirement.specifier.contains(installed, prereleases=True):
            yield Finding("ok", requirement.name, installed)
        else:
            yield Finding("missing", requirement.name, f"{installed} does not fit {requirement.specifier}; {INSTALL}")


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("missing", "compute", f"torch cannot be imported ({error}); {INSTALL}")
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    threads = f"{os.cpu_count()} CPUs, {torch.get_num_threads()} torch threads"
    if gpus:
        return Finding("ok", "compute", f"{threads}, {len(gpus)} GPUs: {', '.join(sorted(set(gpus)))}")
    return Finding("note", "compute", f"{threads}, no GPU that torch can use: enough for the demo and small models")


def _proxy() -> Finding:
    named = proxies(os.environ)
    if not named:
        return Finding("ok", "proxy", "the environment names none")
    exempt = os.environ["no_proxy"]
    through = ", ".join(f"{host} ({variable})" for variable, host in hosts_through_proxy(os.environ).items())
    asked = f"; {through} is asked through it: add it to no_proxy if it is reached without" if through else ""
    others = (
        f"; other programs, such as `prefect server start`, need no_proxy={exempt} in their environment too"
        if only_this_machine(exempt)
        else ""
    )
    return Finding(
        "note",
        "proxy",
        f"{', '.join(sorted(named))}: a run reaches this machine past it (no_proxy={exempt}){asked}{others}",
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


def _left_behind() -> Iterator[Finding]:
    """A note for each process and each folder that outlived the run that started it."""
    for process in leftovers():
        with suppress(psutil.NoSuchProcess):
            yield Finding(
                "note",
                "left behind",
                f"process {process.pid} of a run that was killed ({process.name()}): mascing doctor --clean ends it",
            )
    for folder in left_folders():
        yield Finding(
            "note",
            "left behind",
            f"logs of Ray that a run kept or could not remove: mascing doctor --clean does ({folder})",
        )
