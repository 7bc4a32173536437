"""Trials of the storage: power cuts, kills and failing disks, in numbers that you can repeat.

Start with `ringnb.testing.trials.program`, which ``python -m ringnb.testing.trials`` runs: it hands
small `workloads` to the trials and prints what was tried and what was lost (README.md beside it
shows a full run).

- `powercuts` records every file operation of a workload (`interposing`) and builds each state that
a `disk` may be in if the power fails after any of them; - `kills` ends a process with SIGKILL
before and after every operation, and at random times; - `faults` makes every operation fail once,
in every way; `objects` stops a writer of an object store after every request; `damage` flips every
bit of a checkpoint; `limits` ends batch jobs at random times.

`users` does what people do to a store with other tools. After each, `judging` opens the store anew
and checks every promise. Trials work on the code that users run, and need nothing but ringnb.
"""
