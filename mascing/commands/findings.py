"""What is installed, and what storage, Ray and Prefect say: each with how to get what is missing."""

import logging
import os
import platform
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mascing.errors import StorageError
from mascing.reachability import answers

Status = Literal["ok", "note", "missing"]
_INSTALL = "install with `pip install --constraint constraints.txt mascing`"
_PREFECT_SECONDS = 5


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
    yield _storage(storage_url)
    yield _prefect(os.environ.get("PREFECT_API_URL"))
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


def _storage(url: str) -> Finding:
    from mascing.storage.object_storage import Storage

    try:
        opened = Storage.open(url)
    except StorageError as error:
        return Finding("missing", "storage", str(error))
    return Finding("ok", "storage", f"{opened.url}: writable, and refuses a second create of the same object")


def _prefect(api_url: str | None) -> Finding:
    if not api_url:
        return Finding("note", "prefect", "no PREFECT_API_URL: each run starts a server of its own, about 20 s")
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/health", timeout=_PREFECT_SECONDS) as answer:
            healthy = answer.status == 200
    except (urllib.error.URLError, OSError, ValueError) as error:
        return Finding("missing", "prefect", f"{api_url} does not answer ({error}): prefect server start")
    if not healthy:
        return Finding("missing", "prefect", f"{api_url} is not healthy; look at the server's log")
    return Finding("ok", "prefect", f"{api_url} answers")


def _ray(address: str | None) -> Finding:
    try:
        import ray
    except ImportError as error:
        return Finding("missing", "ray", f"cannot be imported ({error}); {_INSTALL}")
    if address and not answers(address):
        return Finding("missing", "ray", f"no cluster answers at RAY_ADDRESS {address}: start it, or unset RAY_ADDRESS")
    where = f"the cluster at {address}" if address else "a local instance"
    started: dict[str, Any] = {} if address else {"num_cpus": 1, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **started)
        resources = ray.cluster_resources()
        ray.shutdown()
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        first = str(error).strip().partition("\n")[0]
        return Finding("missing", "ray", f"{where} does not start ({first}): check RAY_ADDRESS and memory")
    message = f"{where} answers: {resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    return Finding("ok", "ray", message if address else f"{where} starts")
