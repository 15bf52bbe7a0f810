"""An entry of the catalogue of behaviours, and the sources of conversations that it names."""
