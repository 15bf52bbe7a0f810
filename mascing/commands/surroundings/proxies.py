"""Keep connections within this machine out of the proxy.

A run talks to servers on its own machine: Prefect, Ray, often an object store. Their clients would ask a proxy of the
environment to connect to ``127.0.0.1``, which is another machine there, and would wait for ever.
"""

import socket
from collections.abc import Mapping, MutableMapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_EXEMPTIONS = ("no_proxy", "NO_PROXY")
# Where it is set, gRPC reads it instead of no_proxy.
_GRPC_EXEMPTION = "no_grpc_proxy"
_SERVICES = ("PREFECT_API_URL", "RAY_ADDRESS", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


def proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The proxies that the environment names, by variable: ``http_proxy``, ``ALL_PROXY``, ``grpc_proxy`` and so on."""
    return {
        name: value
        for name, value in environment.items()
        if name.lower().endswith("_proxy") and not name.lower().startswith("no_") and value
    }


def exempt_this_machine(environment: MutableMapping[str, str]) -> None:
    """Add this machine to ``no_proxy`` and ``NO_PROXY`` if the environment names a proxy; keep all other entries.

    Some libraries read one of the two variables, some the other, so a variable that is unset starts from its twin.
    """
    if not proxies(environment):
        return
    set_by_user = {name: environment[name] for name in _EXEMPTIONS if name in environment}
    for name in _EXEMPTIONS:
        environment[name] = _extended(set_by_user.get(name, next(iter(set_by_user.values()), "")))
    if _GRPC_EXEMPTION in environment:
        environment[_GRPC_EXEMPTION] = _extended(environment[_GRPC_EXEMPTION])


def only_this_machine(exemptions: str) -> bool:
    """Whether a value of ``no_proxy`` names nothing but what :func:`exempt_this_machine` adds."""
    return exemptions == _extended("")


def hosts_through_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The hosts of services that this process asks through the proxy, by the variable that names the service."""
    hosts = {name: urlsplit(_with_scheme(environment.get(name, ""))).hostname for name in _SERVICES}
    return {name: host for name, host in hosts.items() if host and not proxy_bypass(host)}


def _with_scheme(address: str) -> str:
    return address if "://" in address else f"//{address}"


def _extended(exemptions: str) -> str:
    entries = [entry.strip() for entry in exemptions.split(",") if entry.strip()]
    if "*" in entries:
        return exemptions
    return ",".join([*entries, *(name for name in (*_THIS_MACHINE, *_own_address()) if name not in entries)])


def _own_address() -> list[str]:
    """The address of this machine in its network, by which Ray's processes call each other; none without a network."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it only picks the interface
            return [str(probe.getsockname()[0])]
    except OSError:
        return []
