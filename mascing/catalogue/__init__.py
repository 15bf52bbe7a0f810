"""The catalogue of behaviours: its entries, how a run takes them, and how the rows of all sources are reached."""
