"""Stage bodies and Ray actors: one file a stage."""
