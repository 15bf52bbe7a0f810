"""Orchestration at scale, with a stub in place of the model."""
