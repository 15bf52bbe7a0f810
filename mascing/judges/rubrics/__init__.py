"""A language model that answers a question about a reply."""
