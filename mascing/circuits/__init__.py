"""The methods that make masks: a folder each, from labelled traces or the model itself to candidate masks."""
