"""Replies that every judge must read right before it is trusted with others."""
