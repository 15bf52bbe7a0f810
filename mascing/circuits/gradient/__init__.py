"""Masks by descent on the model itself, and the attribution of all experts."""
