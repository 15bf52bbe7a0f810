"""Masks in the formats that others publish: one file a format, one table."""
