"""An interrupt at each of the points, in turn, at which Python looks for one.

That is at the start of a function, after a call, and when a loop goes round. A real Ctrl-C rarely hits
the one point of hundreds where it does harm; this hits each of them.
"""

from __future__ import annotations

import dis
import sys
from pathlib import Path

import ringnb

_LOOKS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD"}
_PACKAGE = Path(ringnb.__file__).parent


class Interrupter:
    """Runs a function on the calling thread, with an interrupt at one point of certain modules."""

    def __init__(self, *modules):
        self.files = {str(_PACKAGE / module) for module in modules}
        # By code: the offsets behind which Python looks for signals, and the ranges of its handlers.
        self.looked = {}

    def run(self, function, point):
        """Call a function; return whether it had so many points and was interrupted there."""
        self.left = point
        try:
            sys.settrace(self._enter)
            function()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(None)
        assert self.left > 0  # else something has swallowed the interrupt
        return False

    def _enter(self, frame, event, argument):
        if frame.f_code.co_filename not in self.files:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        code = frame.f_code
        if code not in self.looked:
            looks = {i.offset for i in dis.get_instructions(code) if i.opname in _LOOKS}
            self.looked[code] = looks, dis._parse_exception_table(code)
        looks, ranges = self.looked[code]
        last = None

        def handler(offset):
            return next((r.target for r in ranges if r.start <= offset < r.end), None)

        def trace(frame, event, argument):
            nonlocal last
            if event == "opcode":
                # An interrupt belongs to the call before. If the next instruction has another handler,
                # as at the end of a `with` block, it cannot be raised from here.
                if last in looks and handler(last) == handler(frame.f_lasti):
                    self.left -= 1
                    if self.left == 0:
                        self.where = f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
                        raise KeyboardInterrupt
                last = frame.f_lasti
            return trace

        return trace
