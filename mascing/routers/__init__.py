"""Find the routers of a model, tap them in the same way in every family; known families as data."""
