"""What the notebooks of the course call: experiments, figures and checks, one module per lesson.

Start with a notebook, for example ``notebooks/02_consistent_cut.ipynb``, and read `lesson_02` beside it.
The path of one exercise: a cell of the notebook defines the learner's function; the next cell passes it
to ``course.check_02``, which calls it in a session that only the check uses (`checks.trial_session`),
measures, and returns a `Passed` sentence or raises `CheckFailed` with a fact and a hint. So learners,
tests and graders use the same check. `exercises` takes the solutions out of a learner's copy.

The experiments are real: memory is copied while a kernel changes it, processes are killed with SIGKILL,
bytes are counted as they are read. What must run in another process is in `processes`.

It may import every package below it: panels, plots, session and the packages that these import. Only
the command line (``ringnb lab``) imports the course; nothing else in ringnb may.
"""

from __future__ import annotations

from ringnb.checkpoint.storage.directory.work_area import work_area_of as side_directory
from ringnb.course.checks import CheckFailed, Passed
from ringnb.course.figures import (
    chunk_costs,
    cuts,
    disk_filling,
    dominoes,
    left_over,
    space_time,
    valley,
    waste,
)
from ringnb.course.lesson_00 import check_00
from ringnb.course.lesson_01 import RingIndices, check_01, cost_of_a_launch, rate_during
from ringnb.course.lesson_02 import (
    Cut,
    check_02,
    copy_live,
    copy_paused,
    copy_snapshot,
    energy_error,
)
from ringnb.course.lesson_03 import Reads, check_03, count_reads, files_of, save_wave
from ringnb.course.lesson_04 import (
    Risk,
    Sweep,
    Trial,
    check_04,
    daly,
    lifetimes,
    look_at_risk,
    measure_cost,
    simulate,
    steps_at_risk,
    sweep,
)
from ringnb.course.lesson_05 import (
    Wreck,
    check_05,
    kill_between,
    kill_while_writing,
    write_and_crash,
)
from ringnb.course.lesson_06 import check_06, disk_use, replay
from ringnb.course.lesson_07 import check_07, same_bits, shake
from ringnb.course.lesson_08 import (
    Words,
    bare_kernel,
    barrier_in,
    barrier_source,
    check_08,
    gpu_or_simulator,
    seconds_until,
    wave_ptx,
    words,
)
from ringnb.course.lesson_09 import (
    PLAN_STEPS,
    PowerCuts,
    check_09,
    power_cuts,
    record_commit,
    try_plan,
)
from ringnb.course.lesson_11 import (
    Attempt,
    Count,
    Depots,
    Message,
    Trip,
    check_11,
    dye,
    is_torn,
    roll_back,
    tanks,
)
from ringnb.course.other_processes import OtherNotebook, need_cluster, worker_pid
from ringnb.course.widgets import Note, panel, predict

__all__ = [
    "worker_pid",
    "need_cluster",
    "OtherNotebook",
    "is_torn",
    "tanks",
    "space_time",
    "roll_back",
    "dye",
    "dominoes",
    "check_11",
    "Trip",
    "Message",
    "Depots",
    "Count",
    "Attempt",
    "PLAN_STEPS",
    "CheckFailed",
    "Cut",
    "Note",
    "Passed",
    "PowerCuts",
    "Reads",
    "RingIndices",
    "Risk",
    "Sweep",
    "Trial",
    "Words",
    "Wreck",
    "bare_kernel",
    "barrier_in",
    "barrier_source",
    "check_00",
    "check_01",
    "check_02",
    "check_03",
    "check_04",
    "check_05",
    "check_06",
    "check_07",
    "check_08",
    "check_09",
    "chunk_costs",
    "copy_live",
    "copy_paused",
    "copy_snapshot",
    "cost_of_a_launch",
    "count_reads",
    "cuts",
    "daly",
    "disk_filling",
    "disk_use",
    "energy_error",
    "files_of",
    "gpu_or_simulator",
    "kill_between",
    "kill_while_writing",
    "left_over",
    "lifetimes",
    "look_at_risk",
    "measure_cost",
    "panel",
    "power_cuts",
    "predict",
    "rate_during",
    "record_commit",
    "replay",
    "same_bits",
    "save_wave",
    "seconds_until",
    "shake",
    "side_directory",
    "simulate",
    "steps_at_risk",
    "sweep",
    "try_plan",
    "valley",
    "waste",
    "wave_ptx",
    "words",
    "write_and_crash",
]
