"""What others evaluate models with, on a steered model: lm-evaluation-harness and Inspect."""
