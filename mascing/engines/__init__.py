"""Generate replies under masks, and compute the likelihood of given replies."""
