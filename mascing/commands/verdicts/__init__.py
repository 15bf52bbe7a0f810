"""What `mascing judge` reads and says."""
