"""The entry point of the plugin."""


def register() -> None:
    """vLLM calls this once in each of its processes."""
