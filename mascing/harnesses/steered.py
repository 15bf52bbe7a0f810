"""A loaded model under a mask, for harnesses that call it in their own way: steered and counted, or not run at all."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import torch
from pydantic import ValidationError

from mascing.errors import ConfigError, MaskError, SteeringError
from mascing.masks.mask import Mask
from mascing.models.checkpoints import checkpoint_fingerprint
from mascing.models.loading import Loaded, load
from mascing.runs.mask_address import mask_url
from mascing.schemas.config import ModelConfig
from mascing.steering.steer import steer
from mascing.validation import complaints

DEFAULT_STORAGE = "./mascing-data"
UNSTEERED = "none"


@dataclass
class Steered:
    """A model, and the mask that is put in force around each piece of work; without a mask it is the model itself.

    ``tokens`` counts what was steered so far, by depth of the MoE layer.
    """

    config: ModelConfig
    loaded: Loaded
    mask: Mask | None
    address: str | None
    tokens: Counter[int] = field(default_factory=Counter)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Steer within the context. Raises SteeringError if a layer steered no token of what was done in it."""
        if self.mask is None:
            yield
            return
        with steer(self.loaded.model, self.mask) as handle:
            yield
            counters = handle.counters
        idle = sorted(layer for layer, count in counters.items() if count == 0)
        if idle:
            raise SteeringError(f"the model ran, and the mask steered no token in layers {idle}: report this")
        self.tokens.update(counters)

    @contextmanager
    def unsteered(self) -> Iterator[None]:
        """Leave the mask out within the context."""
        mask, self.mask = self.mask, None
        try:
            yield
        finally:
            self.mask = mask

    @property
    def identity(self) -> str:
        """What determines the model's answers: its checkpoint, its dtype, and the digest of the mask in force."""
        digest = self.mask.digest if self.mask is not None else UNSTEERED
        return f"{checkpoint_fingerprint(self.config)} {self.loaded.model.dtype} {digest}"

    def facts(self) -> dict[str, Any]:
        """What belongs in the results of a harness: which mask was in force, and on how many tokens by layer."""
        facts: dict[str, Any] = {"version": version("mascing"), "mask": self.address, "mask_digest": None}
        if self.mask is not None:
            facts |= {"mask_digest": self.mask.digest, "tokens_steered": {str(k): n for k, n in self.tokens.items()}}
        return facts


def open_steered(path: str, mask: str | None, storage: str = DEFAULT_STORAGE, **settings: Any) -> Steered:
    """Load the model at ``path`` and prove that the mask steers it.

    ``mask`` is an address (:func:`mascing.runs.mask_address.mask_url`), and `none` or None for the model itself.
    ``settings`` are those of `model` in a run.yaml; the device is by default the first GPU, if there is one.

    Raises ConfigError for a setting that does not exist, ModelError, and MaskError or SteeringError if the mask cannot
    be read or does not steer this model.
    """
    if mask == "":
        raise MaskError("no mask was given: name one (mask=ADDRESS), or say mask=none for the model itself")
    given = {name: value for name, value in settings.items() if value is not None}
    try:
        config = ModelConfig(path=path, **{"device": "cuda" if torch.cuda.is_available() else "cpu", **given})
    except ValidationError as error:
        raise ConfigError("; ".join(complaints(error, ModelConfig))) from error
    address = None if mask is None or mask.lower() == UNSTEERED else mask_url(mask, storage)
    steered = Steered(config, load(config), Mask.load(address) if address else None, address)
    if steered.mask is not None:
        steer(steered.loaded.model, steered.mask).remove()
    return steered
