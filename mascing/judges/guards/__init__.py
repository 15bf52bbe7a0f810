"""Guard models: what each is asked, and how its answer is read."""
