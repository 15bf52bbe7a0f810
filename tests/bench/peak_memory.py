"""Peak memory of this process, as Linux counts it."""

from pathlib import Path


def start_anew() -> int:
    """Reset the peak, for example after building a model; returns the kilobytes in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return _kilobytes("VmRSS")


def megabytes_above(kilobytes: int) -> int:
    """The peak since `start_anew` minus the value it returned, in megabytes."""
    return (_kilobytes("VmHWM") - kilobytes) // 1024


def _kilobytes(field: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{field}:"))
