"""The tables and texts of the page, one file a question."""
