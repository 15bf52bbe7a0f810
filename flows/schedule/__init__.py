"""What a scheduled run needs beside the line: stuck runs are released, and people are told."""
