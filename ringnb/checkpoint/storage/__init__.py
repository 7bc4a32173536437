"""Where checkpoints are kept: one group of a Zarr store each, in a directory or an object store."""
