"""Benchmarks of what tells topics from behaviour."""
