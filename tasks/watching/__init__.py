"""What a scheduled run looks at: the masks in their channels, today."""
