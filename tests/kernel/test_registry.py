"""Which kernels run: entered, taken out, forgotten, stopped at the end, told of in a fork."""

from __future__ import annotations

import gc
import os
import textwrap

import pytest

from ringnb._support.children import run_python
from ringnb.kernel import registry


class Fake:
    lost_in_fork = "threads"

    def __init__(self):
        self.said = []

    def fail(self, reason):
        self.said.append(reason)

    def stop(self, reason="closed"):
        self.said.append(reason)
        registry.leave(self)


def test_a_kernel_is_in_from_enter_to_leave():
    kernel = Fake()
    registry.enter(kernel)
    registry.enter(kernel)
    assert registry.running().count(kernel) == 1
    registry.leave(kernel)
    registry.leave(kernel)  # not in: nothing happens
    assert kernel not in registry.running()


def test_the_registry_does_not_keep_a_kernel_alive():
    registry.enter(Fake())
    gc.collect()
    assert not any(isinstance(kernel, Fake) for kernel in registry.running())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_that_its_kernels_are_lost():
    kernel = Fake()
    registry.enter(kernel)
    try:
        child = os.fork()
        if child == 0:
            told = len(kernel.said) == 1 and str(os.getpid()) in kernel.said[0]
            os._exit(0 if told and "threads do not survive a fork" in kernel.said[0] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not kernel.said  # the parent's runs on
    finally:
        registry.leave(kernel)


def test_the_end_of_the_interpreter_stops_kernels_before_older_finalisers_run():
    program = """
        import atexit
        from ringnb.kernel import registry

        class Fake:
            lost_in_fork = "threads"
            def fail(self, reason): pass
            def stop(self, reason="closed"): print("stopped:", reason)

        kernels = [Fake(), Fake()]
        registry.enter(kernels[0])
        atexit.register(print, "memory is freed")
        registry.enter(kernels[1])
    """
    done = run_python("-c", textwrap.dedent(program), timeout=60, check=True)
    assert done.stdout.splitlines() == [
        "stopped: the interpreter is exiting",
        "stopped: the interpreter is exiting",
        "memory is freed",
    ]
