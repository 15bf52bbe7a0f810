"""Tiny checkpoints of three thinking families, trained to think before they refuse or answer."""

from tests.tiny_families.families import Family
from tests.tiny_families.folder import checkpoint
from tests.tiny_families.questions import conversations

__all__ = ["Family", "checkpoint", "conversations"]
