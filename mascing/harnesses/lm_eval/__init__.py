"""lm-evaluation-harness: its tasks on a steered model, and what a mask does to them."""
