"""A judge's calibration: how far its verdicts agreed with human labels."""

from typing import Literal

from pydantic import Field, JsonValue, model_validator

from mascing.schemas.base import Frozen
from mascing.schemas.result import Rate


class Calibration(Frozen):
    """The agreement of one judge with the labels of a file.

    ``judge`` is the identity of the judge, and ``data`` the SHA-256 of the file. ``sensitivity`` is the share of
    labelled hits that the judge finds, ``specificity`` that of labelled misses that it leaves.
    """

    version: Literal[1] = 1
    judge: dict[str, JsonValue]
    data: str
    labels: str
    hits: int = Field(gt=0)
    misses: int = Field(gt=0)
    kappa: Rate
    sensitivity: Rate
    specificity: Rate

    @model_validator(mode="after")
    def _values_lie_in_their_intervals(self) -> "Calibration":
        for name in ("kappa", "sensitivity", "specificity"):
            rate: Rate = getattr(self, name)
            if not rate.low <= rate.value <= rate.high:
                raise ValueError(f"{name}: {rate.value:g} is not between {rate.low:g} and {rate.high:g}")
        return self
