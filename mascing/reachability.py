"""Reach addresses and URLs, and say within seconds what does not answer: clients themselves retry for minutes."""

import os
import re
import socket
import stat
import sys
from pathlib import Path
from typing import IO

_SECONDS = 5.0
_LARGEST_PORT = 65535
"""A larger number is taken for one of its last 16 bits by the system's resolver."""
# The opening of every HTTP/2 connection: a fixed preface and an empty SETTINGS frame (RFC 9113, 3.4).
_HTTP2_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_SETTINGS = 4


def answers(address: str) -> bool:
    """Return whether ``host:port``, with or without a scheme and a path, accepts a connection.

    Returns True for an address without a port: only its client can interpret it.
    """
    place = _host_and_port(address)
    if place is None:
        return True
    try:
        with _connection(place):
            return True
    except OSError:
        return False


def refuse_silent_endpoint(url: str) -> None:
    """Raise ConnectionError if the URL is on S3 and nothing answers at the endpoint of the environment."""
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        if url.startswith("s3://") and (endpoint := os.environ.get(variable)):
            if not answers(endpoint):
                raise ConnectionError(f"nothing answers at {variable} {endpoint}")
            return


def read_bytes(place: str, most: int | None = None) -> bytes:
    """Read a local path or a URL that fsspec knows. Raises one of :func:`url_errors` if nothing can be read there.

    With ``most``, a file of more bytes is refused before it is read whole, and so is a local one that has no end or
    none to wait for, such as a device or a pipe.
    """
    if "://" not in place:
        return _read_local(place, most)
    refuse_silent_endpoint(place)
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    filesystem, path = fsspec.url_to_fs(place)
    if isinstance(filesystem, LocalFileSystem):
        return _read_local(path, most)
    with filesystem.open(path, "rb") as file:
        return _read(file, most)


def _read_local(path: str, most: int | None) -> bytes:
    # Opening a pipe waits for its writer, so the kind is asked first.
    if most is not None and not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
        raise ValueError("it is no regular file but a device, a pipe or a socket: copy what it gives to a file")
    with open(path, "rb") as file:
        return _read(file, most)


def _read(file: IO[bytes], most: int | None) -> bytes:
    data = file.read(-1 if most is None else most + 1)
    if most is not None and len(data) > most:
        raise ValueError(f"it is larger than the {most / 10**6:g} MB that such a file may have")
    return data


def write_bytes(place: str, data: bytes) -> None:
    """Write a local path, whose folders are made, or a URL that fsspec knows.

    Raises one of :func:`url_errors` if it cannot be written.
    """
    if "://" not in place:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_bytes(data)
        return
    refuse_silent_endpoint(place)
    import fsspec

    with fsspec.open(place, "wb") as file:
        file.write(data)


def is_there(place: str) -> bool:
    """Whether a local path or a URL that fsspec knows exists. Raises one of :func:`url_errors` if that is unknown."""
    if "://" not in place:
        return Path(place).exists()
    refuse_silent_endpoint(place)
    import fsspec

    filesystem, path = fsspec.url_to_fs(place)
    return bool(filesystem.exists(path))


def url_errors() -> tuple[type[Exception], ...]:
    """What fsspec may raise for a URL that cannot be read: botocore's errors and the hub's are none of Python's own."""
    botocore = sys.modules.get("botocore.exceptions")  # s3fs imports it when it is used
    of_s3 = (botocore.BotoCoreError, botocore.ClientError) if botocore else ()
    hub = sys.modules.get("huggingface_hub.errors")
    of_hub = (hub.HTTPError,) if hub else ()
    return (OSError, ValueError, ImportError, *of_s3, *of_hub)


def told(place: str, error: Exception) -> str:
    """What went wrong at a path or URL and what to do, in one line."""
    scheme, is_url, _ = place.partition("://")
    said = (str(error).splitlines() or [""])[0].rstrip(". ") or type(error).__name__
    if not is_url:
        return said
    if isinstance(error, ImportError):
        return f"{scheme}:// takes a package that is not installed ({said}): install it, or copy the file here"
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return f"{scheme}:// found no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    return f"{said}: check the URL, and the network and the credentials for {scheme}://"


def speaks_grpc(address: str) -> bool:
    """Return whether a gRPC server, without TLS, answers at ``host:port``; True for an address without a port."""
    place = _host_and_port(address)
    if place is None:
        return True
    try:
        with _connection(place) as connection:
            connection.sendall(_HTTP2_OPENING)
            header = connection.recv(9, socket.MSG_WAITALL)
            return len(header) == 9 and header[3] == _SETTINGS
    except OSError:
        return False


def _connection(place: tuple[str, int]) -> socket.socket:
    """Connect; raises OSError if nothing answers."""
    if place[1] > _LARGEST_PORT:
        raise OSError(f"there is no port {place[1]}")
    return socket.create_connection(place, timeout=_SECONDS)


def _host_and_port(address: str) -> tuple[str, int] | None:
    parts = re.fullmatch(r"(?:\w+://)?\[?(?P<host>[^/\]]+?)\]?:(?P<port>\d+)(?:/.*)?", address)
    return (parts["host"], int(parts["port"])) if parts else None
