"""Published tables, recomputed by this project's code; read where their publishers have them, and never copied here."""
