"""Puts `assembler` in the place of NVIDIA's, in every process that has this directory on its path.

Numba's part and NVVM's stay as they are: what is assembled is the PTX that they made. That is kept for
other processes with the same card, also what is made of the tests' functions: meanwhile none changes.
"""

import gc
import importlib.abc
import importlib.util
import os
import pathlib
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


def _replace_linker(module):
    module.Linker = _Linker


def _keep_ptx_alone(module):
    reduced = module.CUDACodeLibrary._reduce_states

    def without_cubins(self):
        """Return what is kept: `assembler` keeps what it makes, for each kind of memory."""
        return {**reduced(self), "cubin_cache": {}, "linkerinfo_cache": {}}

    module.CUDACodeLibrary._reduce_states = without_cubins


def _keep_apart(module):
    class Binaries(module._Binaries):
        cache_path = os.environ["STANDIN_CACHE"]

        def _file(self, signature, codegen):
            return pathlib.Path(self.cache_path, self._name)

    module._Binaries = Binaries


def _keep_more(module):
    def is_found(function):
        """Return whether a function is what its module has by its name."""
        found = sys.modules.get(function.__module__)
        for part in function.__qualname__.split("."):  # "<locals>" is found nowhere
            found = getattr(found, part, None)
        return found is function and function.__module__ != "__main__"

    module.is_own = is_found


_CHANGED = {
    ".cudadrv.driver": _replace_linker,
    ".cuda.codegen": _keep_ptx_alone,
    "ringnb.kernel.cuda.compile": _keep_apart,
    "ringnb.kernel.cuda.kernel": _keep_more,
}


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
gc.set_threshold(50_000, 50, 50)  # compilers make very many objects that stay
