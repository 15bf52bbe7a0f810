"""The plots of the page, one file a question."""
