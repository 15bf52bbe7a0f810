"""OpenAI-compatible endpoints: one asynchronous call, retried, paced, paid within a budget and never paid twice."""
