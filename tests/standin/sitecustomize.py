"""Puts `assembler` in the place of NVIDIA's, in every process that has this directory on its path.

Numba's part and NVVM's stay as they are: what is assembled is the PTX that they made.
"""

import importlib.abc
import importlib.util
import os
import sys


class _Linker:
    """As much of `cuda.core.Linker` as Numba uses."""

    def __init__(self, *codes, options):
        self._codes, self._arch = codes, options.arch

    def link(self, kind):
        from assembler import assembled
        from cuda.core import Linker, LinkerOptions, ObjectCode

        (code,) = (code for code in self._codes if code.code_type in ("ptx", "ltoir"))
        if code.code_type == "ltoir":  # Numba's default; the linker makes PTX of it
            options = LinkerOptions(arch=self._arch, link_time_optimization=True, ptx=True)
            code = Linker(code, options=options).link("ptx")
        text = code.code.decode() if isinstance(code.code, bytes) else code.code
        return ObjectCode.from_cubin(assembled(text.rstrip("\0")))

    def get_info_log(self):
        return ""

    get_error_log = get_info_log

    def close(self):
        pass


def _of_stand_in(self):
    """Return what code that is kept on disk is for: no GPU loads it, and no other memory."""
    return "stand-in", os.environ.get("STANDIN_FLAGS"), os.environ.get("STANDIN_MUTATION")


def _replace_linker(module):
    module.Linker = _Linker


def _name_code(module):
    module.JITCUDACodegen.magic_tuple = _of_stand_in


_CHANGED = {".cudadrv.driver": _replace_linker, ".cuda.codegen": _name_code}


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        change = next((_CHANGED[end] for end in _CHANGED if name.endswith(end)), None)
        if change is None:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            change(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Finder())
