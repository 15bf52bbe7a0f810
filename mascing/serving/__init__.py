"""Masks in production: the plugin of vLLM, a thin endpoint on transformers, and the following of a channel."""
