"""Judges that compare a model's number with a threshold."""
