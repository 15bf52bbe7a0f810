"""What every judge may have: a calibration."""

from pydantic import Field

from mascing.schemas.base import Frozen


class Calibrated(Frozen):
    """A judge that may be calibrated: rates are then reported without its known error too."""

    calibration: str | None = Field(
        default=None,
        description="the file that `mascing judge --calibration` wrote for this very judge",
        exclude_if=lambda path: path is None,
    )
