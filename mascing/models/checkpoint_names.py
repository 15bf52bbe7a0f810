"""Names of checkpoints in paths and channels: what people call a model, with the start of its content's digest."""

import re
from dataclasses import dataclass

from mascing.models.checkpoints import model_name
from mascing.schemas.config import ModelConfig

_LONGEST = 100  # a hub id fits; with a behaviour and a digest it still is one part of a path
_DIGITS = 12


@dataclass(frozen=True)
class NamedCheckpoint:
    """A model as results call it, and the fingerprint of its weights and tokenizer, which is what identifies it."""

    name: str
    fingerprint: str

    @property
    def digest(self) -> str:
        """The part of the fingerprint that stands in names."""
        return self.fingerprint[:_DIGITS]

    @property
    def label(self) -> str:
        """``<name>-<digest>``, one part of a path."""
        return f"{flat_name(self.name)}-{self.digest}"


def named_checkpoint(config: ModelConfig, fingerprint: str) -> NamedCheckpoint:
    """The checkpoint that ``config`` names, with the fingerprint that ``checkpoint_fingerprint`` found."""
    return NamedCheckpoint(model_name(config), fingerprint)


def flat_name(name: str) -> str:
    """A model's name as one part of a path; the slashes of a hub id become ``--``."""
    flat = "--".join(part for part in re.split(r"[/\\]+", name) if part not in ("", ".", ".."))
    return re.sub(r"[^A-Za-z0-9._-]", "-", flat).lstrip(".")[:_LONGEST] or "model"
