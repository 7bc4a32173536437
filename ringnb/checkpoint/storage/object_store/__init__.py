"""A store of objects behind a Zarr store: commits by one put, under claims."""
