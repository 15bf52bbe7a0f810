"""How stages run: identity and commit, the pool of Ray actors, and the judging that several stages share."""
