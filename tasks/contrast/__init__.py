"""How the label stage makes labels and contrasts, and how they are found again before a run."""
