"""The paper's classifier of routing: ensembles of it, their cards, and what else could explain the classes."""
