"""A second testbed of real pretrained English: SmolLM2-135M, its feed-forward layers split into experts.

``python -m mascing.testbeds.smollm OUT_DIR`` builds it, ``mascing run OUT_DIR/run.yaml`` runs it: see docs/smollm.md.
"""
