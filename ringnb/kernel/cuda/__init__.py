"""The kernel on an NVIDIA GPU: one cooperative CUDA launch for the whole run.

`ringnb.kernel.cuda.kernel` launches and ends it on a `device`, in `memory` that `layout` describes;
`program` builds the code out of `leader` and the actors' updates, `compile` translates it,
`intrinsics` are the few instructions that Numba does not have. `availability` says what is missing,
`errors` what went wrong.
"""
