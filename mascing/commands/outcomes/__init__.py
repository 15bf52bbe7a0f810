"""Commands about what runs left: their pages, the list of them, and the channels of their masks."""
