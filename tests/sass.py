"""Count the machine instructions that a step takes per cell, as the assembler makes them.

``python tests/sass.py`` compiles actors in kernels of their own, with no device, and prints a JSON line
for each and each of `CAPABILITIES`. It takes minutes, and the disassembler nvdisasm (extra ``sass``).
``python tests/sass.py --keep`` does so for the actors whose kernel has changed, and writes all lines to
``tests/kernel/instructions.json``, which a test holds against limits, and against the sources that were
counted. ``python tests/sass.py 8.0`` does it for another capability.

Counted is the shortest way round the loop over cells on which a thread stores all that it computes at a
time: what a warp issues for a cell away from the edges of the grid.
"""

from __future__ import annotations

import ast
import hashlib
import heapq
import importlib.metadata
import inspect
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ringnb.actors.base import Actor

KEPT = Path(__file__).parent / "kernel" / "instructions.json"
KERNEL = Path(__file__).parents[1] / "ringnb" / "kernel"
COUNTED = ("fdtd_2d", "fdtd_3d", "heat_2d", "gray_scott", "life", "ising_2d")
# What a way must come by. Of the cells of a warp every other one draws, and all wait for it: what it
# draws is compared with an exponential, of float64.
THROUGH = {"ising_2d": "DFMA"}
CAPABILITIES = ((7, 5), (9, 0), (12, 0))
# What a kernel is made of, its leader included: that takes registers, too. Of a module with functions of
# the host only what is named, or its constants.
_WHOLE = (
    "cuda/program.py",
    "cuda/walk.py",
    "cuda/leader.py",
    "cuda/regions.py",
    "cuda/intrinsics.py",
    "cuda/planes.py",
)
_MADE_OF = {
    **dict.fromkeys((*_WHOLE, "rules.py", "regions.py"), None),
    "cuda/compile.py": {"RESIDENT", "launch_bounds", "ieee_arithmetic"},
    "cuda/layout.py": {"Memory"},
    "layout.py": set[str](),
}
_WIDTHS = {1: ".U8", 2: ".U16", 4: "", 8: ".64"}
_INTEGER = (
    "IADD IADD3 IMAD IMNMX VIADD VIMNMX ISETP LEA LOP3 SHF SEL PRMT IABS MOV UIADD3 UIMAD ULEA UMOV"
)


def sources(actor: Actor, kernel: Path = KERNEL) -> str:
    """Digest the code that the kernel of an actor alone is made of, but not what is said about it."""
    parts = []
    for name, wanted in _MADE_OF.items():
        for node in _unsaid((kernel / name).read_text(encoding="utf-8")).body:
            if (
                wanted is None
                or isinstance(node, ast.Assign)
                or getattr(node, "name", "") in wanted
            ):
                parts.append(ast.unparse(node))
    for function in (*actor.stages, actor.inject):
        for one in _with_helpers(function):
            parts.append(ast.unparse(_unsaid(textwrap.dedent(inspect.getsource(one)))))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _with_helpers(function: Any) -> Iterator[Any]:
    """Yield a function, and the compiled ones that it calls."""
    python = getattr(function, "py_func", function)
    yield python
    for name in python.__code__.co_names:
        if hasattr(helper := python.__globals__.get(name), "py_func"):
            yield from _with_helpers(helper)


def _unsaid(source: str) -> ast.Module:
    """Parse a source without its comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            node.body[0] = ast.Pass()
    return tree


def counted_actors() -> list[Actor]:
    """Return the actors whose instructions are counted."""
    from ptx import hosted_alone

    return [actor for actor in hosted_alone() if actor.kernel_type in COUNTED]


def disassembler() -> str | None:
    """Return the path of nvdisasm, or None."""
    try:
        files = importlib.metadata.files("nvidia-cuda-nvdisasm") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [str(f.locate()) for f in files if f.name in ("nvdisasm", "nvdisasm.exe")]
    return found[0] if found else shutil.which("nvdisasm")


def disassembled(cubin: bytes) -> str:
    """Return the machine code of all kernels as text, with labels."""
    program = disassembler()
    assert program is not None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [program, "-c", file.name]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


_Place = tuple[int, int, bool]  # an instruction, stores before it, whether it is ready for the next


class Code:
    """A kernel's instructions, and which may follow each.

    Parameters
    ----------
    sass : str
        What `disassembled` returned.
    entry : str
        The name of the kernel.
    """

    def __init__(self, sass: str, entry: str) -> None:
        _, _, text = sass.partition(f"\n.text.{entry}:\n")
        assert text, entry
        text = re.split(r"\n\t\.section\t", text)[0]
        self.lines: list[str] = []
        labels: dict[str, int] = {}
        for line in text.splitlines():
            if label := re.match(r"(\.L_\w+):", line):
                labels[label[1]] = len(self.lines)
            elif code := re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
                self.lines.append(code[1])
        self.next = [self._after(i, labels) for i in range(len(self.lines))]

    def name(self, i: int) -> str:
        """Return an instruction's name with its modifiers."""
        return re.sub(r"^@!?U?P\w+ +", "", self.lines[i]).split()[0]

    def _after(self, i: int, labels: dict[str, int]) -> list[int]:
        name = self.name(i).split(".")[0]
        ends = name in ("BRA", "JMP", "EXIT", "RET", "BRX", "JMX")
        always = not self.lines[i].startswith("@") and not re.search(r"\bU?P\d", self.lines[i])
        found = [] if ends and always else [i + 1]
        if name in ("BRA", "JMP"):
            target = re.search(r"\((\.L_\w+)\)", self.lines[i])
            assert target is not None, self.lines[i]
            found.append(labels[target[1]])
        return [j for j in found if j < len(self.lines)]

    def way_round(self, stores: int, width: int, through: str = "") -> tuple[list[int], int]:
        """Return the shortest way from an instruction back to it with so many stores of a width.

        Before each store it comes by an instruction whose name begins with `through`.

        The compiler may have put several turns into one: they are told, too; the way per turn counts.
        """
        is_store = [
            self.name(i).startswith("STG.E")
            and re.sub(r"STG\.E|\.STRONG|\.SYS|\.GPU", "", self.name(i)) == _WIDTHS[width]
            for i in range(len(self.lines))
        ]
        is_passed = [self.name(i).startswith(through) for i in range(len(self.lines))]
        heads = {j for i, after in enumerate(self.next) for j in after if j <= i}
        ways = [
            (way, turns)
            for turns in (1, 2, 4)
            for head in heads
            if (way := self._way(head, turns * stores, is_store, is_passed))
        ]
        assert ways, "no loop stores so much"
        return min(ways, key=lambda found: len(found[0]) / found[1])

    def _way(
        self, head: int, stores: int, is_store: list[bool], is_passed: list[bool]
    ) -> list[int] | None:
        came: dict[_Place, _Place | None] = {}
        ahead: list[tuple[int, _Place, _Place | None]] = [(0, (head, 0, False), None)]
        while ahead:
            length, here, before = heapq.heappop(ahead)
            if here in came or length > 2000:
                continue
            came[here] = before
            i, done, passed = here
            if i == head and done == stores and before is not None:
                way = []
                at = before
                while at is not None:
                    way.append(at[0])
                    at = came[at]
                return way[::-1]
            passed = passed or is_passed[i]
            if is_store[i]:
                if not passed:
                    continue
                done, passed = done + 1, False
            if done <= stores:
                for j in self.next[i]:
                    heapq.heappush(ahead, (length + 1, (j, done, passed), here))
        return None


def counted(
    sass: str, entry: str, together: int, fields: int, width: int, through: str = ""
) -> dict[str, Any]:
    """Return the instructions per cell of a kernel of one actor.

    Parameters
    ----------
    sass : str
        What `disassembled` returned.
    entry : str
        The kernel's name.
    together, fields, width : int
        Cells that a thread computes at a time, fields of each, bytes of an element.
    through : str
        What the name begins with of an instruction that is to be on the way before each store.

    Returns
    -------
    dict of str to float
        Per cell: ``instructions``, those of them that are ``integer`` arithmetic, ``loads``, ``stores``,
        and both of ``local`` memory.
    """
    code = Code(sass, entry)
    way, turns = code.way_round(together * fields, width, through)
    kinds = [code.name(i).split(".")[0] for i in way]
    cells = together * turns

    def share(names: str) -> float:
        """Return how many of these instructions there are per cell."""
        return sum(kind in names.split() for kind in kinds) / cells

    return {
        "instructions": len(way) / cells,
        "integer": share(_INTEGER),
        "loads": share("LD LDG"),
        "stores": share("ST STG"),
        "local": share("LDL STL"),
    }


def rows(
    actors: list[Actor], capabilities: tuple[tuple[int | str, ...], ...]
) -> Iterator[dict[str, Any]]:
    """Compile every actor alone and yield what was counted, for each capability."""
    from ptx import linked

    from ringnb.kernel.cuda.compile import RESIDENT, compiled, launch_bounds, signature
    from ringnb.kernel.cuda.program import build, cell_codes

    for actor in actors:
        (code,) = cell_codes(actor)
        bounds = launch_bounds(RESIDENT)
        for capability, ptx in compiled(build([code]), signature(), capabilities, bounds):
            cubin, used = linked(ptx, capability)
            (entry,) = re.findall(r"\.visible \.entry (\w+)\(", ptx)
            sass = disassembled(cubin)
            through = THROUGH.get(actor.kernel_type, "")
            found = counted(sass, entry, code.together, code.fields, actor.dtype.itemsize, through)
            named = {"actor": actor.kernel_type, "sources": sources(actor), "cc": capability}
            yield {**named, **found, **used}


def as_markdown(kept: list[dict[str, Any]]) -> list[str]:
    """Return the table of the documentation, a row for each actor."""
    lines = []
    for kind in COUNTED:
        cells = [kind]
        for capability in CAPABILITIES:
            (row,) = (r for r in kept if r["actor"] == kind and tuple(r["cc"]) == capability)
            cells.append(f"{row['instructions']:.1f} ({row['integer']:.1f}), {row['spills']}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print all rows, and keep them if asked to."""
    from ringnb.kernel.cuda.availability import load

    load(simulate=False)
    numbers = [tuple(map(int, a.split("."))) for a in sys.argv[1:] if a[0].isdigit()]
    keep, kept = "--keep" in sys.argv[1:], json.loads(KEPT.read_text())
    current = {actor.kernel_type: sources(actor) for actor in counted_actors()}
    kept = [row for row in kept if keep and row["sources"] == current.get(row["actor"])]
    done = {row["actor"] for row in kept}
    left = [actor for actor in counted_actors() if actor.kernel_type not in done]
    for row in rows(left, tuple(numbers) or CAPABILITIES):
        print(json.dumps(row), flush=True)
        kept.append(row)
    if keep:
        kept.sort(key=lambda row: COUNTED.index(row["actor"]))
        KEPT.write_text("[\n" + ",\n".join(map(json.dumps, kept)) + "\n]\n")


if __name__ == "__main__":
    main()
