"""What can be known of a run before anything is started or generated: its rows, its machine and its gates."""
