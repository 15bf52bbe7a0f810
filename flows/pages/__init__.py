"""What Prefect's pages show of a run: its name and tags, its progress, and its outcome."""
