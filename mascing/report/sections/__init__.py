"""The tables and texts of the page, one file per question."""
