"""The choice of one mask a method on the dev split: margin, racing, pruning."""
