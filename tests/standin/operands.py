"""What stands in a PTX instruction, as C: types, registers, constants, addresses."""

from __future__ import annotations

import re

_NAME = r"[\w$%.]+"
_SPECIAL = {
    "%tid.x": "t->tid",
    "%ntid.x": "t->block->threads",
    "%ctaid.x": "t->block->index",
    "%nctaid.x": "t->block->blocks",
    "%laneid": "(t->tid & 31)",
    **{f"%{name}.{axis}": "0" for name in ("tid", "ctaid") for axis in "yz"},
    **{f"%{name}.{axis}": "1" for name in ("ntid", "nctaid") for axis in "yz"},
}


class Unknown(Exception):
    """PTX that this assembler does not know."""


def c_type(kind: str) -> str:
    """Return the C type of a PTX type such as ``u64``."""
    if kind == "pred":
        return "uint8_t"
    if kind == "f32":
        return "float"
    if kind == "f64":
        return "double"
    sign, bits = kind[0], kind[1:]
    if sign not in "sub" or bits not in {"8", "16", "32", "64"}:
        raise Unknown(f"type {kind}")
    return f"{'' if sign == 's' else 'u'}int{bits}_t"


def size(kind: str) -> int:
    """Return the bytes of a PTX type."""
    return 1 if kind == "pred" else int(kind[1:]) // 8


def declared(text: str) -> tuple[str, int, int]:
    """Return name, bytes and alignment of a variable: ``.align 8 .b8 name[24]`` or ``.u64 name``."""
    found = re.match(rf"(?:\.align (\d+) )?\.(\w+)\s+({_NAME})(?:\[(\d+)\])?$", text.strip())
    if not found:
        raise Unknown(f"declaration {text!r}")
    align, kind, name, count = found.groups()
    return name, size(kind) * int(count or 1), max(int(align or 1), size(kind))


class Operands:
    """The operands of one function, and what is known of its names.

    Parameters
    ----------
    shared : dict of str to int
        Where in a block's shared memory its variables lie.
    symbols : set of str
        The module's variables and functions.
    """

    def __init__(self, shared: dict[str, int], symbols: set[str]) -> None:
        self.shared, self.symbols = shared, symbols
        self.registers: dict[str, str] = {}
        self.known: dict[str, str] = {}  # by prefix
        self.tables: dict[str, list[str]] = {}
        self.lines: list[str] = []

    # -- operands --------------------------------------------------------------------------------

    def register(self, text: str) -> str | None:
        """Return a register's PTX type, or None if this is none."""
        if text in self.known:
            kind = self.known[text]
        elif (found := re.match(r"(%[a-zA-Z_]+)\d+$", text)) and found[1] in self.known:
            kind = self.known[found[1]]
        else:
            return None
        if self.registers.setdefault(text, kind) != kind:
            raise Unknown(f"{text} of two types in one function")
        return kind

    @staticmethod
    def variable(name: str) -> str:
        """Return the C name of a register or symbol."""
        kind = "v_" if name.startswith("%") else "w_"
        return kind + re.sub(r"\W", lambda m: f"_{ord(m[0]):x}_", name.lstrip("%"))

    def read(self, text: str, kind: str) -> str:
        """Return an operand's value as C of a PTX type."""
        text = text.strip()
        if kind == "pred":
            negated, name = text.startswith("!"), text.lstrip("!")
            value = self.variable(name) if self.register(name) else f"({int(text) != 0:d})"
            return f"(!{value})" if negated else value
        if found := re.match(r"0([fdFD])([0-9A-Fa-f]+)$", text):
            single = found[1] in "fF"
            value = f"{'f32' if single else 'f64'}_of(0x{found[2]}{'u' if single else 'ull'})"
            if kind[0] != "f":
                raise Unknown(f"{text} as {kind}")
            return value if single == (kind == "f32") else f"({c_type(kind)}){value}"
        has = self.register(text)
        if has is None:
            return f"(({c_type(kind)}){self.constant(text)})"
        name = self.variable(text)
        if has == kind:
            return name
        if has[0] == "f" and kind[0] == "f":
            raise Unknown(f"{text} of type {has} as {kind}")
        if has[0] == "f":
            return f"(({c_type(kind)})bits_of_{has}({name}))"
        if kind[0] == "f":
            return f"{kind}_of({name})"
        return f"(({c_type(kind)}){name})"

    def constant(self, text: str) -> str:
        """Return an integer, special register or address as C."""
        if text in _SPECIAL:
            return _SPECIAL[text]
        if text.startswith("%"):
            if text in {"%globaltimer", "%clock64"}:
                return f"machine_{text[1:]}()"
            raise Unknown(f"register {text}")
        if re.match(r"-?(0[xX][0-9a-fA-F]+|\d+)U?$", text):
            return f"{int(text.rstrip('U'), 0) & (2**64 - 1)}ull"
        return self.address(text)

    def address(self, text: str) -> str:
        """Return ``reg``, ``symbol`` or either with an offset, as an unsigned 64-bit C value."""
        found = re.match(rf"({_NAME})\s*(?:\+\s*(-?\d+))?$", text.strip())
        if not found:
            raise Unknown(f"address {text!r}")
        base, offset = found[1], int(found[2] or 0)
        if self.register(base):
            value = f"(uint64_t){self.variable(base)}"
        elif base in self.shared:
            value = f"((uint64_t)t->block->shared + {self.shared[base]})"
        elif base in self.symbols:
            value = f"(uint64_t){self.variable(base)}"
        else:
            raise Unknown(f"symbol {base}")
        return f"({value} + {offset})" if offset else value

    def put(self, target: str, kind: str, value: str) -> None:
        """Assign a C value of a PTX type to a register."""
        has = self.register(target)
        if has is None:
            raise Unknown(f"target {target}")
        if has[0] == "f" and kind[0] != "f":
            value = f"{has}_of({value})"
        elif has[0] != "f" and kind[0] == "f":
            value = f"bits_of_{kind}({value})"
        elif has[0] == "f" and has != kind:
            raise Unknown(f"{target} of type {has} for {kind}")
        self.lines.append(f"{self.variable(target)} = {value};")
