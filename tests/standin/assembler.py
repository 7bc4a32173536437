"""The assembler of the stand-in card: what PTX says, as a shared object of this machine.

PTX goes to C statement by statement, each register a variable, each instruction an expression or one of
``machine.h``; a C compiler does the rest. An instruction or a form of one that is not known here is an
error, so nothing is ever skipped. A kernel becomes a function of a thread and its arguments. Beside it
stand the arguments' sizes and the bytes of shared memory, which the driver asks for.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from instructions import Function
from operands import Unknown, c_type, declared, size

HERE = Path(__file__).parent


def without_comments(ptx: str) -> str:
    """Return PTX with no comments, its white space single."""
    return re.sub(r"[ \t]+", " ", re.sub(r"//[^\n]*|/\*.*?\*/", "", ptx, flags=re.DOTALL))


_HEAD = re.compile(
    r"(\.visible |\.weak |\.extern )?\.(entry|func)\s*(?:\(([^)]*)\)\s*)?([\w$]+)\s*(?:\(([^)]*)\))?"
    r"([^{;]*)([{;])"
)


def body_of(ptx: str, opened: int) -> tuple[str, int]:
    """Return what stands between an opening brace and its closing one, and where that is."""
    depth, at = 1, opened
    while depth:
        at += 1
        depth += {"{": 1, "}": -1}.get(ptx[at], 0)
    return ptx[opened + 1 : at], at + 1


def module_variable(text: str) -> tuple[str, str]:
    """Return name and C of a module-scope variable of the global or constant space."""
    declaration, _, content = text.partition("=")
    name, n, align = declared(declaration)
    kind, given = "char", ""
    if content.strip():
        (element,) = re.findall(r"\.([bus]\d+)\s", declaration)
        kind, given = c_type(element), f" = {content.strip()}"
        n //= size(element)
    variable = Function.variable(name)
    return (
        name,
        f"static IN_MODULE {kind} {variable}[{n}] __attribute__((aligned({align}))){given};",
    )


def to_c(ptx: str) -> str:
    """Translate a module of PTX to C.

    Parameters
    ----------
    ptx : str
        The module.

    Returns
    -------
    str
        C that includes ``machine.h``.

    Raises
    ------
    Unknown
        At what is not known here; the message names it.
    """
    text = without_comments(ptx)
    pieces, out, prototypes = [], ['#include "machine.h"\nstatic IN_MODULE char none;'], []
    shared: dict[str, int] = {}
    symbols, used = set(), 0
    at = 0
    # Functions first, so that what is left is the module's variables.
    rest = ""
    while found := _HEAD.search(text, at):
        rest += text[at : found.start()]
        at = found.end()
        if found[7] == "{":
            body, at = body_of(text, found.end() - 1)
            pieces.append((found, body))
        symbols.add(found[4])
    rest += text[at:]
    for declaration in filter(None, (d.strip() for d in rest.split(";"))):
        for line in declaration.splitlines()[:-1]:
            if line.strip() and not re.match(r"\.(version|target|address_size)\b", line):
                raise Unknown(f"directive {line}")
        space = re.search(r"\.(shared|global|const) (.*)", declaration, re.DOTALL)
        if space is None:
            if re.match(r"\.(version|target|address_size)\b", declaration):
                continue
            raise Unknown(f"directive {declaration}")
        if space[1] == "shared":
            name, n, align = declared(space[2])
            used = -(-used // align) * align
            shared[name] = used
            used += n
        else:
            name, code = module_variable(space[2])
            symbols.add(name)
            out.append(code)
    for found, body in pieces:
        out.extend(translated(found, body, shared, set(symbols), used, prototypes))
    return "\n".join((out[0], *prototypes, *out[1:], ""))


def translated(
    found: re.Match[str],
    body: str,
    shared: dict[str, int],
    symbols: set[str],
    used: int,
    prototypes: list[str],
) -> list[str]:
    """Return the C of one function."""
    function = Function(shared, symbols)
    name, entry = found[4], found[2] == "entry"
    lists = [
        [
            declared(re.sub(r"\.param |\.ptr|\.noalias", "", p))
            for p in (text or "").split(",")
            if p.strip()
        ]
        for text in (found[3], found[5])
    ]
    parameters = [p for each in lists for p in each]
    function.symbols |= {p for p, *_ in parameters}
    tables = re.findall(r"([\w$]+):\s*\.branchtargets\s+([^;]*);", body)
    function.tables = {label: [t.strip() for t in targets.split(",")] for label, targets in tables}
    body = re.sub(r"[\w$]+:\s*\.branchtargets[^;]*;", "", body)
    for token in re.split(r"(?<=;)|(?<=:)(?=\s)|(?<=\n)(?=\s*[{}]\s*\n)|(?<=[{}])(?=\s*\n)", body):
        text = " ".join(token.split())
        if not text:
            continue
        if text in "{}":
            function.lines.append(text)
        elif text.endswith(":"):
            function.lines.append(f"{function.variable(text[:-1])}: ;")
        else:
            function.statement(text.rstrip(";").strip())
    variable = "".join(
        f"{c_type(kind)} {function.variable(register)}; "
        for register, kind in function.registers.items()
    )
    if entry:
        head = f"void {name}(struct thread *t, char *const *parameters)"
        opening = [
            f"char *const {function.variable(p)} = parameters[{i}];"
            for i, (p, *_) in enumerate(parameters)
        ]
        sizes = ", ".join(str(n) for _, n, _ in parameters)
        after = [
            f"const int {name}__sizes[] = {{{sizes}{', ' if sizes else ''}0}};",
            f"const int {name}__shared = {used};",
        ]
    else:
        given = "".join(f", char *{function.variable(p)}" for p, *_ in parameters)
        head, opening, after = (
            f"static void {function.variable(name)}(struct thread *t{given})",
            [],
            [],
        )
        prototypes.append(f"{head};")
    return [f"{head} {{", *opening, "unsigned carry = 0;", variable, *function.lines, "}", *after]


def assembled(ptx: str) -> bytes:
    """Return a shared object with the module's kernels.

    ``STANDIN_FLAGS`` of the environment are more for the compiler: with ``-DWEAK`` the memory is as weak
    as PTX allows.

    Parameters
    ----------
    ptx : str
        The module.

    Returns
    -------
    bytes
        An ELF file.
    """
    flags = os.environ.get("STANDIN_FLAGS", "").split()
    code = to_c(ptx)
    key = hashlib.sha256(
        (code + (HERE / "machine.h").read_text() + str(flags)).encode()
    ).hexdigest()
    kept = Path(os.environ.get("STANDIN_CACHE") or tempfile.gettempdir()) / f"{key[:40]}.so"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as scratch:
            source, made = Path(scratch, "kernel.c"), Path(scratch, "kernel.so")
            source.write_text(code)
            subprocess.run(
                [
                    shutil.which("cc"),
                    *("-shared", "-fPIC", "-Og", "-w", "-std=gnu11", "-march=native"),
                    # A product and a sum are two roundings, integers wrap, and memory has no types.
                    *(
                        "-ffp-contract=off",
                        "-fwrapv",
                        "-fno-strict-aliasing",
                        "-fno-delete-null-pointer-checks",
                    ),
                    *flags,
                    f"-I{HERE}",
                    *("-o", made, source, "-lm"),
                ],
                check=True,
            )
            finished = kept.with_suffix(f".{os.getpid()}")
            shutil.copyfile(made, finished)
            finished.replace(kept)
    return kept.read_bytes()
