"""The plots of the page, one file per question."""
