"""When a mask may be served, and when the one that is served must be looked at: decisions over time."""
