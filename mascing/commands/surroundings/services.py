"""What storage, Prefect and Ray say when they are asked."""

from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from mascing.commands.surroundings.finding import INSTALL, Finding
from mascing.engines.installed import installed_version
from mascing.errors import MascingError, StorageError, first_line


def storage(url: str) -> Finding:
    """Whether the storage can be written, and refuses what would overwrite."""
    from mascing.storage.object_storage import Storage

    try:
        opened = Storage.open(url)
    except StorageError as error:
        return Finding("missing", "storage", str(error))
    return Finding("ok", "storage", f"{opened.url}: writable, and refuses a second create of the same object")


def prefect() -> Finding:
    """Whether the named Prefect server answers, if one is named."""
    try:
        from mascing.flows.prefect_server import server_version

        server = server_version()
    except ImportError as error:
        return Finding("missing", "prefect", f"cannot be imported ({error}); {INSTALL}")
    except MascingError as error:
        return Finding("missing", "prefect", str(error))
    if server is None:
        return Finding("note", "prefect", "no PREFECT_API_URL: each run starts a server of its own, in some seconds")
    return Finding("ok", "prefect", f"{server[0]} answers: {server[1]}")


def stuck() -> Iterator[Finding]:
    """A note for each run and each slot on the named Prefect server that nobody works on."""
    import httpx

    from mascing.flows.schedule.stuck_runs import found

    try:
        stuck = found()
    except httpx.HTTPError as error:  # a server of another version, or one that is gone since
        yield Finding("note", "stuck", f"stuck runs cannot be looked for: {first_line(error)}")
        return
    for each in stuck:
        yield Finding("note", "stuck", f"{each}: mascing doctor --clean releases it")


def ray(address: str | None) -> Finding:
    """Whether the named Ray cluster can be joined, or a local instance starts."""
    try:
        from ray import cluster_resources, shutdown

        from mascing.tasks.running.cluster import join_cluster, start_local

        if address:
            join_cluster()
        else:
            start_local(cpus=1)
    except ImportError as error:
        return Finding("missing", "ray", f"cannot be imported ({error}); {INSTALL}")
    except MascingError as error:
        return Finding("missing", "ray", str(error))
    resources = cluster_resources()
    shutdown()
    if not address:
        return Finding("ok", "ray", "a local instance starts")
    size = f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs"
    return Finding("ok", "ray", f"the cluster at {address} answers: {size}")


def dashboard() -> Iterator[Finding]:
    """A note if Ray's dashboard is not installed; a run needs none."""
    wanted = [Requirement(line) for line in metadata.requires("ray") or ()]
    extra = [each.name for each in wanted if each.marker and each.marker.evaluate({"extra": "default"})]
    if any(installed_version(name) is None for name in extra):
        yield Finding(
            "note",
            "dashboard",
            f"Ray's is not installed, and a run needs none: to watch a cluster of your own, install the extra "
            f"`ray[default]=={metadata.version('ray')}` on its head node",
        )
