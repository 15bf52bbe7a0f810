"""What a run left and how it is read back: stage outputs, channels, addresses of masks."""
