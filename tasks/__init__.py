"""Stage bodies, one file per stage, and the Ray actors that run them."""
