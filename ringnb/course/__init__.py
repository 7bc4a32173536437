"""What the notebooks of the course are built on: experiments, figures and checks, one module per lesson.

The experiments are real: live memory is copied while a kernel steps it, processes are killed with
SIGKILL, bytes are counted as they are read. Checks are plain functions that return what they measured
or raise `CheckFailed` with a hint, so that a learner, a test and a grader use the same ones. A session
knows nothing of this package.
"""

from __future__ import annotations

from ringnb.checkpoint.storage.directory.work_area import work_area_of as side_directory
from ringnb.course.checks import CheckFailed, Passed
from ringnb.course.figures import chunk_costs, cuts, left_over, valley
from ringnb.course.lesson_00 import check_00
from ringnb.course.lesson_01 import check_01, rate_during
from ringnb.course.lesson_02 import (
    Cut,
    check_02,
    copy_live,
    copy_paused,
    copy_snapshot,
    energy_error,
)
from ringnb.course.lesson_03 import Reads, check_03, count_reads, files_of, save_wave
from ringnb.course.lesson_04 import Sweep, Trial, check_04, lifetimes, measure_cost, sweep
from ringnb.course.lesson_05 import Wreck, check_05, kill_while_writing
from ringnb.course.lesson_06 import check_06, replay
from ringnb.course.lesson_07 import check_07, same_bits, shake
from ringnb.course.lesson_08 import (
    bare_kernel,
    barrier_in,
    barrier_source,
    check_08,
    gpu_or_simulator,
    seconds_until,
    wave_ptx,
)
from ringnb.course.lesson_08_words import Words, words
from ringnb.course.widgets import Note, panel, predict

__all__ = [
    "CheckFailed",
    "Cut",
    "Note",
    "Passed",
    "Reads",
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
    "chunk_costs",
    "copy_live",
    "copy_paused",
    "copy_snapshot",
    "count_reads",
    "cuts",
    "energy_error",
    "files_of",
    "gpu_or_simulator",
    "kill_while_writing",
    "left_over",
    "lifetimes",
    "measure_cost",
    "panel",
    "predict",
    "rate_during",
    "replay",
    "same_bits",
    "save_wave",
    "seconds_until",
    "shake",
    "side_directory",
    "sweep",
    "valley",
    "wave_ptx",
    "words",
]
