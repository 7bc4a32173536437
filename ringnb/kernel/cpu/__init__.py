"""The kernel on the CPU: Numba threads that run without the GIL for the whole run.

`ringnb.kernel.cpu.kernel` starts and ends them; each lane has a `leader`, which reads `commands` and
shares the work with its `team`; `compile` makes an actor's update into the function that they call.
`elsewhere` is a leader whose actor is stepped by others, on other machines.
"""
