"""What is run by hand: it needs root, a checkout of another project, or minutes."""
