"""Masks by differences in selection rates (SteerMoE)."""
