"""The plugin that steers the routers of models in stock vLLM, mask by request."""
