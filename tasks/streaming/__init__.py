"""Work on rows of stored tables, which are read where they are needed and wait on disk until they are written."""
