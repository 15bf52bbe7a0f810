"""Traces of router logits: recorded, stored as Parquet shards, and read back in parts that fit into memory."""
