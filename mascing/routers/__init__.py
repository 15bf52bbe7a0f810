"""Which modules of a model route, and one tap for all of them; known families as data."""
