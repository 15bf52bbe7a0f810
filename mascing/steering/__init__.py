"""Put a mask in force on a model, prove that it is, and bake it into a checkpoint."""
