"""One mask of several, or of a multiple of one."""
