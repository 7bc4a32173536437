"""A session: a running kernel, a checkpoint manager, and the threads that work between them.

Start with `ringnb.session.session`: `Session` is what a notebook holds. It uses these modules, except
`recorder`, which does without it, and the last, which uses it::

    remaking          what a session takes over from the one that it replaces
    launching         checks arguments; makes the kernel and registers its actors
    snapshot          a snapshot that a user asks for
    stepping          steps that a caller waits for
    linking           which links between actors are joined
    live_copy         a copy of the live state that nobody commits
    reporter          the thread that records numbers at every so many steps
    closing           the last checkpoint, and the end of everything
    live              which sessions are open; all are closed at the end of the interpreter
    signals           a checkpoint when a signal announces the end
    restore           a checkpoint back into a live actor
    compatibility     what differs between a checkpoint and that actor: code, parameters
    service           the two background threads, and what they do
    transport         carries requests to the kernel and its answers back; owns no thread
    staging           a staging buffer on loan, given back when nothing refers to it any more
    cut               all actors captured at one step and committed as one; and back
    step_holds        actors that the kernel holds at a step
    step_schedule     snapshots at each multiple of a number of steps
    supervision       actors that fail go back to a checkpoint, and run on
    change_tracking   which actors have nothing new to save
    failures          one warning for a full disk, not hundreds
    fault_injection   the switches behind `Session.faults`
    glance            all counters, read from the parts that keep them
    statistics        the counters behind `Session.statistics`
    recorder          checkpoints of a loop that is not a kernel of ours, by the same manager
    notebook          a cell that is run again closes the session of its last run
    crank             a snapshot moved by hand, stopped at every stage

The way of one snapshot, and the thread on which each part runs::

    caller   Session.snapshot > take_snapshot       gets a request from the manager
    caller   service.enqueue                        puts it into the backlog of its lane
    service  service.turn > transport.send          the command, onto the H2K ring
    kernel                                          copies the state into a staging buffer, answers
    service  service.turn > transport.pump          the answer, off the K2H ring into the inbox
    service  service.turn > _hand_over              to the writer thread
    writer   service.complete > transport.respond   arrays that view the staging buffer
    writer   service.complete > the manager         commits them, then deletes what is too old

             where other requests wait for the buffer, `_hand_over` calls `respond` and copies a
             small state; the writer completes those that are there together

    caller   take_snapshot                          wakes up and opens the checkpoint

Another thread that waits for an answer of its own may take this one off the ring as well. Without a
service the caller does it all: `take_snapshot` calls `send`, `pump` and `complete` itself, and
`Session.send`, `Session.receive` and `crank` do the same step by step.

An automatic snapshot begins in `service.turn`, where the manager is polled. If its commit fails, the
manager sets a time for the retry, and the writer thread warns. A restore runs on the caller's thread:
`prepare_restore` finds the checkpoint, checks that it fits and says what differs, then `fill_buffers`
reads and verifies every byte; only then is the command sent.

The package imports `ringnb.checkpoint`, `ringnb.kernel` and what lies below them; never panels, plots,
the course or the command line. Panels are found by an entry point, and subscribe to
`Session.on_displaced`.
"""

from __future__ import annotations

from ringnb.session.recorder import Recorder
from ringnb.session.session import Session
from ringnb.session.signals import checkpoint_on_signal

__all__ = ["Recorder", "Session", "checkpoint_on_signal"]
