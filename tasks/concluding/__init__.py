"""The parts of a run's end: what would have changed its decisions, and the mask that it keeps but does not publish."""
