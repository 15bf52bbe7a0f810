"""How the select stage comes to its picks: forecast, pruning, and the shuffled control."""
