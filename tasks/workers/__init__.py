"""The workers of a run: Ray actors, the queue that feeds them, and what is told where there is no room for them."""
