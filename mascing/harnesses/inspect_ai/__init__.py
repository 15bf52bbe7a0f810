"""Inspect: a steered model as its provider, and the verdicts of a run as its logs."""
