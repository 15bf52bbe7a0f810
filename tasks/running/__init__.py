"""How stages run: identity and commit, the pool of Ray actors, and the judged work that several stages share out."""
