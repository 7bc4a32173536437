"""A store in a local directory: commits by rename, under a lock."""
