"""Where checkpoints are kept: one group of a Zarr store each, in a directory or an object store.

Start with `zarr_storage.ZarrStorage`; `base.CheckpointStorage` is what the manager needs of it.
Each module uses those further down only:

- `archive` (one zip file) and `locations` (from a path or a URL to a backend);
- `backend.Backend`, of two kinds: `directory` (stage, sync, rename), `object_store` (put in order);
- `catalogue`, what a store holds;
- `checkpoint.Checkpoint`, what is handed out, and `field_array`, its lazy arrays;
- `reader`, which checks every byte: `source` is where they are, `document` what they must be;
- `records` (what goes in and out) and `format` (chunks, names, array documents).

A commit: `ZarrStorage.save` takes a `Snapshot`, which was checked when it was made; `layout_fields`
cuts its fields into chunks; `Backend.put` writes them, has `render_document` render the group's
document, and makes the name visible. A read: `ZarrStorage.load` opens a `Reader`, which compares the
documents with their digests; `Checkpoint` and `FieldArray` read chunks through it.

The rules that all of this keeps are numbered in ``ringnb/checkpoint/README.md``, and in the tests.
It imports `ringnb.messages`, `ringnb.errors` and `ringnb._support`, and nothing of the manager.
"""
