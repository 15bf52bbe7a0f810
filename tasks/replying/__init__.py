"""Replies to conversations under masks, and their verdicts, as units of work."""
