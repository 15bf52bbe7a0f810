"""Copies of stored models on a machine, and what is remembered of their files."""
