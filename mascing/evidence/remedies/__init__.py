"""What would change the decision of each gate that a mask did not pass, in sentences with their numbers."""
