"""Masks by what an ensemble of surrogates agrees on."""
