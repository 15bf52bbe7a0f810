"""One line of `mascing doctor`."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["ok", "note", "missing"]
INSTALL = "install with `pip install --constraint constraints.txt mascing`"


@dataclass(frozen=True)
class Finding:
    """The result of one check. ``missing`` means that no run can work without it; ``message`` says how to get it."""

    status: Status
    what: str
    message: str
