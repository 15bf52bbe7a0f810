"""Load a model from a folder, a storage URL or the hub, say which weights it has, and batch its prompts."""
