"""Commands that record traces and look at them."""
