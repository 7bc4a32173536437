"""A store in a zarr ``Store``, such as S3 or memory: no rename, so the order of puts makes a commit.

Start with `backend.ObjectStoreBackend`; `claims` keeps the writers of several processes apart where the
store has conditional puts. It never imports `directory`.
"""
