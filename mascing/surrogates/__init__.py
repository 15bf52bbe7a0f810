"""The paper's classifier of routing: its ensembles, their cards, and other explanations of the classes."""
