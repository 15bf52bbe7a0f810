"""Judges that ask other judges."""
