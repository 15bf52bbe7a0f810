"""How judges, methods and a user's own parts are configured."""
