"""The bench of campaigns, and how it counts what workers do."""
