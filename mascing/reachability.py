"""Whether anything answers at a network address, told in seconds: clients of their own accord try for minutes."""

import re
import socket

_SECONDS = 5.0


def answers(address: str) -> bool:
    """Whether ``host:port`` (also with a scheme before and a path behind) takes a connection.

    An address without a port is for its client to make sense of: True.
    """
    found = re.fullmatch(r"(?:\w+://)?\[?(?P<host>[^/\]]+?)\]?:(?P<port>\d+)(?:/.*)?", address)
    if found is None:
        return True
    try:
        with socket.create_connection((found["host"], int(found["port"])), timeout=_SECONDS):
            return True
    except (OSError, OverflowError):
        return False
