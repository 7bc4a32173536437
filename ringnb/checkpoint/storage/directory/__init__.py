"""A store in a local directory: commits by rename, under a lock.

Start with `backend.DirectoryBackend`. It holds the process's `lock`, stages in the `work_area`, makes
every change through `files`, which tests and fault switches can interpose, keeps a `listing` of what the
store holds, and links unchanged chunks with `dedup`. It never imports `object_store`.
"""
