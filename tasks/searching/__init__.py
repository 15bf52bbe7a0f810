"""The searches of the optimise stage on the pool: whole ones, and those that go in rounds of shared trials."""
