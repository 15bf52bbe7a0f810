"""Traces of router logits: record them, store them as Parquet shards, read them back in parts that fit into memory."""
