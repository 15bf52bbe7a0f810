"""Replies under masks, and how likely a model finds given replies."""
