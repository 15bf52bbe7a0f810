"""A method of one's own that fails until it is mended."""

import os

from pydantic import BaseModel

from mascing.circuits.method import Material, Method, Proposal
from mascing.circuits.steermoe.method import STEERMOE
from mascing.schemas.settings.method_settings import SteerMoEConfig


class Options(BaseModel):
    """No settings."""


def _search(material: Material, config: Options) -> Proposal:
    del config
    if "MENDED" not in os.environ:
        raise RuntimeError("no such luck")
    found: Proposal = STEERMOE.search(material, SteerMoEConfig(n_activated=(2,), n_deactivated=(0,)))
    return found


FAILING = Method("failing", Options, _search, judges=False)
