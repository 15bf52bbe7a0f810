"""A thin OpenAI-compatible endpoint on the transformers engine, where vLLM is not installed."""
