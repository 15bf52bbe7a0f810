"""Topic is not behaviour: what splits by topic alone, and splits by chance, do to the statistics of the methods."""
