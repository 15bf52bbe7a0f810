"""What lies under a storage URL, whether it is whole, and what of it nothing needs."""
