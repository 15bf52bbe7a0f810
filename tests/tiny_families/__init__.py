"""Tiny checkpoints of three thinking families, trained to think before they refuse or answer."""

from tests.tiny_families.folder import Family, checkpoint
from tests.tiny_families.questions import conversations

__all__ = ["Family", "checkpoint", "conversations"]
