"""The methods that make masks, one folder each: from labelled traces or the model itself to candidate masks."""
