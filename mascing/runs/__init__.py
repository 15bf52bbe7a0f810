"""The outputs of a run and how to read them: stage outputs, channels, addresses of masks."""
