"""Masks by search through surrogates (MASCing)."""
