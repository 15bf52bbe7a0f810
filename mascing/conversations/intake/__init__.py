"""Files that people have, read as conversations: bytes, rows, columns, turns, complaints."""
