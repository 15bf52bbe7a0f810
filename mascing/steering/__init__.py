"""Steer a model with a mask, prove that the mask takes effect, and bake it into a checkpoint."""
