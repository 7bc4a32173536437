"""The kernel on an NVIDIA GPU: cooperative CUDA launches, one behind the other, for the whole run.

`ringnb.kernel.cuda.kernel` launches and ends it on a `device`, in `memory` that `layout` describes;
`program` builds the code out of `leader` and the actors' updates, `compile` translates it,
`intrinsics` are the few instructions that Numba does not have. `availability` says what is missing,
`self_test` whether a small kernel computes the right bits, `errors` what went wrong; `clock` brings the
device's time stamps onto the host's clock.
"""
