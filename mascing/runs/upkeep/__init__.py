"""What lies under a storage URL, whether it is whole, and what of it no finished run needs."""
