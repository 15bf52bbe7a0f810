"""What a SIGKILL at a random point of a stage costs a whole run: the units that are made twice, counted."""
