"""`mascing campaign`: the plan that it shows before it starts, and the results when it ends."""
