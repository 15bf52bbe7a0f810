"""What a mask does on a sibling of its model: a fine-tune, or a quantised copy."""
