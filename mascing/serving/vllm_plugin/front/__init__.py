"""The front of vLLM, the process that takes requests: masks are chosen here, and replies leave with their proof."""
