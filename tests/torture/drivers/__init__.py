"""Drivers of a stage of many units that are killed, paused, and started twice."""
