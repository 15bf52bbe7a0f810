"""What a run starts beside its work: watched while it runs, and gone when it is."""
