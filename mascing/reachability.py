"""Check within seconds whether a network address answers; clients themselves retry for minutes."""

import re
import socket

_SECONDS = 5.0


def answers(address: str) -> bool:
    """Return whether ``host:port``, with or without a scheme and a path, accepts a connection.

    Returns True for an address without a port: only its client can interpret it.
    """
    parts = re.fullmatch(r"(?:\w+://)?\[?(?P<host>[^/\]]+?)\]?:(?P<port>\d+)(?:/.*)?", address)
    if parts is None:
        return True
    try:
        with socket.create_connection((parts["host"], int(parts["port"])), timeout=_SECONDS):
            return True
    except (OSError, OverflowError):
        return False
