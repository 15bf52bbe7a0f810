"""Models for testing methods: one with a planted circuit, one made from a pretrained model."""
