"""Trials of the storage: power cuts, kills and failing disks, in numbers that you can repeat.

``python -m ringnb.testing.trials`` runs them and prints what was tried and what was lost; ``--full``
tries everything. They work on the parts that users run, and need nothing but ringnb:

- `ringnb.testing.trials.powercuts` records every file operation of a workload and builds each state
  that a disk may be in if the power fails after any of them;
- `ringnb.testing.trials.kills` ends a process with SIGKILL before and after every operation, and at
  random times;
- `ringnb.testing.trials.faults` makes every operation fail once, in every way, and
  `ringnb.testing.trials.objects` stops a writer of an object store after every request.

After each, the store is opened anew and judged by `ringnb.testing.trials.judging`.
"""
