"""Models that say their verdict: here, or behind an endpoint."""
