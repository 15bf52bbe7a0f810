"""Campaigns: the grid of runs, what it leaves, the leaderboard of its cells, and the ranking of methods."""
