"""Commands for masks that leave their place: to and from other formats, and onto other checkpoints."""
