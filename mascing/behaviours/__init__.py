"""The entries of the catalogue of behaviours: data, one YAML file each."""
