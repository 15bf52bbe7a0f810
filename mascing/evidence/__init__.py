"""From verdicts to results: rates, gates, comparisons, and the number of conversations that they need."""
