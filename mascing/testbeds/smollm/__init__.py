"""A second testbed, pretrained on real English: SmolLM2-135M with its feed-forward layers split into experts.

``python -m mascing.testbeds.smollm OUT_DIR`` builds it; ``mascing run OUT_DIR/run.yaml`` runs it. See docs/smollm.md.
"""
