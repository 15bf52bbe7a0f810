"""The methods that make masks: one file each, from labelled traces or the model itself to candidate masks."""
