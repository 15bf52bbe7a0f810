"""Processes of this machine, known by numbers that other machines use as well."""

import os
from pathlib import Path


def this_machine() -> str:
    """What processes have in common that see each other's numbers: the boot and the PID namespace; empty if unknown."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return ""


def is_gone(pid: int) -> bool:
    """Whether there is certainly no process of this number on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is somebody else's, or this system cannot say
        return False
    return False
