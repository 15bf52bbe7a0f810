"""Models whose true circuit is known."""
