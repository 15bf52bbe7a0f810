"""What a run finds on its machine (a proxy, folders that can be written) and what it makes of it."""
