"""PTX instructions, as C.

Arithmetic is that of PTX to the bit: a fused product is fused, anything else rounds once, ``.ftz``
flushes. What PTX calls approximate is exact here, which no card promises.
"""

from __future__ import annotations

import re

from accesses import Accesses
from operands import Unknown, c_type, declared

_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_COMPARE |= {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
_DIRECTED = {"rz": "FE_TOWARDZERO", "rm": "FE_DOWNWARD", "rp": "FE_UPWARD"}
_BITWISE = {"and": "&", "or": "|", "xor": "^"}


class Function(Accesses):
    """One function of a module, statement by statement.

    Attributes
    ----------
    lines : list of str
        The C so far.
    """

    # -- statements ------------------------------------------------------------------------------

    def declare(self, text: str) -> None:
        """Take in ``.reg``, ``.local`` and ``.param`` declarations."""
        space, rest = text.split(None, 1)
        if space == ".pragma":
            return
        if space == ".reg":
            kind, names = rest.strip().split(None, 1)
            for name in names.split(","):
                self.known[re.sub(r"<\d+>$", "", name.strip())] = kind[1:]
            return
        name, n, align = declared(rest)
        self.symbols.add(name)
        # A block of its own may declare the name again.
        self.lines.append(f"char {self.variable(name)}[{n}] __attribute__((aligned({align})));")

    def statement(self, text: str) -> None:
        """Translate one instruction, with its predicate."""
        if text.startswith("."):
            self.declare(text)
            return
        if found := re.match(r"@(!?)(%\w+)\s+(.*)", text, re.DOTALL):
            condition = self.read(found[1] + found[2], "pred")
            self.lines.append(f"if ({condition}) {{")
            self.statement(found[3])
            self.lines.append("}")
            return
        opcode, _, rest = text.partition(" ")
        name, *parts = opcode.split(".")
        operands = [o.strip() for o in re.split(r",(?![^{\[(]*[}\])])", rest)] if rest else []
        handler = getattr(self, f"op_{name}", None)
        if handler is None:
            raise Unknown(f"instruction {opcode}")
        handler(parts, operands)

    def arithmetic(self, parts: list[str], operands: list[str], value: str) -> None:
        """Compute ``value`` of a, b, c, with subnormal numbers flushed if asked."""
        kind = parts[-1]
        self.only(parts[:-1], "rn", *_DIRECTED, "ftz", "lo", "full", "approx")
        flush = "ftz" if "ftz" in parts and kind == "f32" else ""
        named = {
            n: f"{flush}({self.read(o, kind)})" for n, o in zip("abc", operands[1:], strict=False)
        }
        type_ = c_type(kind)
        mode = next((_DIRECTED[part] for part in parts if part in _DIRECTED), None)
        if mode:
            held = ", ".join(f"{n}_ = {v}" for n, v in named.items())
            value = value.format(**{n: f"{n}_" for n in named}, T=type_)
            result = f"directed({mode}, {type_}, {value}, {held})"
        else:
            # In the type: C would compute 16 bits in 32.
            result = f"({type_})({value.format(**named, T=type_)})"
        self.put(operands[0], kind, f"{flush}({result})" if flush else result)

    def op_add(self, parts: list[str], operands: list[str], sign: str = "+") -> None:
        if "cc" in parts:
            self.carried(parts, operands, f"{{a}} {sign} {{b}}")
            return
        self.arithmetic(parts, operands, f"{{a}} {sign} {{b}}")

    def carried(self, parts: list[str], operands: list[str], sum_: str, taken: str = "") -> None:
        """Compute with the carry or borrow of the instruction before, and leave one for the next."""
        self.only(parts[:-1], "cc", "lo", "hi")
        kind = f"u{parts[-1][1:]}"
        given = {name: self.read(o, kind) for name, o in zip("abc", operands[1:], strict=False)}
        half = f" >> {kind[1:]}" if "hi" in parts else ""
        total = sum_.format(**given, half=half, T=c_type(kind)) + taken
        self.lines.append(f"{{ unsigned __int128 total = (unsigned __int128){total};")
        self.put(operands[0], kind, f"({c_type(kind)})total")
        if "cc" in parts:
            self.lines.append(f"carry = total >> {kind[1:]} & 1;")
        self.lines.append("}")

    def op_addc(self, parts: list[str], operands: list[str]) -> None:
        self.carried(parts, operands, "{a} + {b}", " + carry")

    def op_madc(self, parts: list[str], operands: list[str]) -> None:
        self.carried(parts, operands, "({T})((unsigned __int128){a} * {b}{half}) + {c}", " + carry")

    def op_subc(self, parts: list[str], operands: list[str]) -> None:
        self.carried(parts, operands, "{a} - {b}", " - carry")

    def op_sub(self, parts: list[str], operands: list[str]) -> None:
        self.op_add(parts, operands, "-")

    def op_mul(self, parts: list[str], operands: list[str], addend: str = "") -> None:
        kind = parts[-1]
        if "wide" in parts or "hi" in parts:
            self.only(parts[:-1], "wide", "hi")
            double = {"16": "int32_t", "32": "int64_t", "64": "__int128"}[kind[1:]]
            wide = f"{'unsigned ' if kind == 'u64' else 'u' if kind[0] == 'u' else ''}{double}"
            value = f"({wide}){self.read(operands[1], kind)} * {self.read(operands[2], kind)}"
            if "wide" in parts:
                kind = f"{kind[0]}{2 * int(kind[1:])}"
                value = f"({c_type(kind)})({value})"
            else:
                value = f"({c_type(kind)})(({value}) >> {kind[1:]})"
            if addend:
                value = f"({c_type(kind)})({value} + {self.read(operands[3], kind)})"
            self.put(operands[0], kind, value)
        else:
            self.arithmetic(parts, operands, "{a} * {b}" + addend)

    def op_mad(self, parts: list[str], operands: list[str]) -> None:
        if "cc" in parts:
            sum_ = "({T})((unsigned __int128){a} * {b}{half}) + {c}"
            self.carried(parts, operands, sum_)
            return
        self.op_mul(parts, operands, " + {c}")

    def op_fma(self, parts: list[str], operands: list[str]) -> None:
        function = "__builtin_fmaf" if parts[-1] == "f32" else "__builtin_fma"
        self.arithmetic(parts, operands, function + "({a}, {b}, {c})")

    def op_div(self, parts: list[str], operands: list[str]) -> None:
        whole = parts[-1][0] != "f"
        self.arithmetic(parts, operands, "whole_div({T}, {a}, {b})" if whole else "{a} / {b}")

    def op_rem(self, parts: list[str], operands: list[str]) -> None:
        self.arithmetic(parts, operands, "whole_rem({T}, {a}, {b})")

    def op_rcp(self, parts: list[str], operands: list[str]) -> None:
        self.arithmetic(parts, operands, "1 / {a}")

    def op_sqrt(self, parts: list[str], operands: list[str]) -> None:
        function = "__builtin_sqrtf" if parts[-1] == "f32" else "__builtin_sqrt"
        self.arithmetic(parts, operands, function + "({a})")

    def function(self, parts: list[str], operands: list[str], name: str) -> None:
        """Apply a function of C's library."""
        self.arithmetic(parts, operands, f"{name}{'f' if parts[-1] == 'f32' else ''}({{a}})")

    def op_ex2(self, parts: list[str], operands: list[str]) -> None:
        self.function(parts, operands, "exp2")

    def op_lg2(self, parts: list[str], operands: list[str]) -> None:
        self.function(parts, operands, "log2")

    def op_sin(self, parts: list[str], operands: list[str]) -> None:
        self.function(parts, operands, "sin")

    def op_cos(self, parts: list[str], operands: list[str]) -> None:
        self.function(parts, operands, "cos")

    def op_tanh(self, parts: list[str], operands: list[str]) -> None:
        self.function(parts, operands, "tanh")

    def op_rsqrt(self, parts: list[str], operands: list[str]) -> None:
        self.arithmetic(parts, operands, "1 / sqrt({a})")

    def op_copysign(self, parts: list[str], operands: list[str]) -> None:
        self.arithmetic(parts, operands, "copysign({b}, {a})")

    def op_neg(self, parts: list[str], operands: list[str]) -> None:
        self.arithmetic(parts, operands, "-{a}")

    def op_abs(self, parts: list[str], operands: list[str]) -> None:
        self.arithmetic(parts, operands, "absolute({T}, {a})")

    def op_min(self, parts: list[str], operands: list[str]) -> None:
        real = parts[-1][0] == "f"
        self.arithmetic(parts, operands, "fmin({a}, {b})" if real else "{a} < {b} ? {a} : {b}")

    def op_max(self, parts: list[str], operands: list[str]) -> None:
        real = parts[-1][0] == "f"
        self.arithmetic(parts, operands, "fmax({a}, {b})" if real else "{a} > {b} ? {a} : {b}")

    def bitwise(self, parts: list[str], operands: list[str], sign: str) -> None:
        """Apply an operator to all bits, or to predicates."""
        (kind,) = parts
        a, b = (self.read(o, kind) for o in operands[1:])
        self.put(operands[0], kind, f"({c_type(kind)})({a} {sign} {b})")

    def op_and(self, parts: list[str], operands: list[str]) -> None:
        self.bitwise(parts, operands, "&")

    def op_or(self, parts: list[str], operands: list[str]) -> None:
        self.bitwise(parts, operands, "|")

    def op_xor(self, parts: list[str], operands: list[str]) -> None:
        self.bitwise(parts, operands, "^")

    def op_not(self, parts: list[str], operands: list[str]) -> None:
        (kind,) = parts
        value = self.read(operands[1], kind)
        self.put(operands[0], kind, f"({c_type(kind)}){'!' if kind == 'pred' else '~'}{value}")

    def op_shl(self, parts: list[str], operands: list[str], name: str = "shl") -> None:
        (kind,) = parts
        by = self.read(operands[2], "u32")
        value = f"{name}({c_type(kind)}, {self.read(operands[1], kind)}, {by})"
        self.put(operands[0], kind, value)

    def op_shr(self, parts: list[str], operands: list[str]) -> None:
        self.op_shl(parts, operands, "shr")

    def op_bfi(self, parts: list[str], operands: list[str]) -> None:
        (kind,) = parts
        a, b = (self.read(o, kind) for o in operands[1:3])
        at, n = (f"({self.read(o, 'u32')} & 255)" for o in operands[3:])
        kept = f"shl({c_type(kind)}, ({c_type(kind)})~shl({c_type(kind)}, ~0ull, {n}), {at})"
        value = f"({b} & ~{kept}) | (shl({c_type(kind)}, {a}, {at}) & {kept})"
        self.put(operands[0], kind, f"({c_type(kind)})({value})")

    def op_clz(self, parts: list[str], operands: list[str]) -> None:
        (kind,) = parts
        value = f"(uint64_t){self.read(operands[1], kind)}"
        missing = 64 - int(kind[1:])
        self.put(operands[0], "u32", f"({value} ? __builtin_clzll({value}) : 64) - {missing}")

    def op_popc(self, parts: list[str], operands: list[str]) -> None:
        (kind,) = parts
        self.put(operands[0], "u32", f"__builtin_popcountll({self.read(operands[1], kind)})")

    def op_shf(self, parts: list[str], operands: list[str]) -> None:
        side, mode, kind = parts
        if mode not in ("wrap", "clamp") or kind != "b32":
            raise Unknown(f"shf.{'.'.join(parts)}")
        low, high, by = (self.read(o, "u32") for o in operands[1:])
        by = f"({by} & 31)" if mode == "wrap" else f"({by} < 32 ? {by} : 32)"
        both = f"((uint64_t){high} << 32 | {low})"
        value = f"{both} << {by} >> 32" if side == "l" else f"{both} >> {by}"
        self.put(operands[0], "u32", f"(uint32_t)({value})")

    def op_mov(self, parts: list[str], operands: list[str]) -> None:
        (kind,) = parts
        target, source = operands
        if target.startswith("{"):
            names = [n.strip() for n in target[1:-1].split(",")]
            part = f"b{int(kind[1:]) // len(names)}"
            self.lines.append(f"{{ {c_type(kind)} whole = {self.read(source, kind)};")
            for i, name in enumerate(names):
                self.put(name, part, f"({c_type(part)})(whole >> {i * int(part[1:])})")
            self.lines.append("}")
        elif source.startswith("{"):
            names = [n.strip() for n in source[1:-1].split(",")]
            part = f"b{int(kind[1:]) // len(names)}"
            pieces = (
                f"({c_type(kind)}){self.read(n, part)} << {i * int(part[1:])}"
                for i, n in enumerate(names)
            )
            self.put(target, kind, " | ".join(pieces))
        else:
            self.put(target, kind, self.read(source, kind))

    def op_cvta(self, parts: list[str], operands: list[str]) -> None:
        # An address is the same in every space here.
        self.put(operands[0], "u64", self.read(operands[1], "u64"))

    def op_selp(self, parts: list[str], operands: list[str]) -> None:
        (kind,) = parts
        a, b = (self.read(o, kind) for o in operands[1:3])
        self.put(operands[0], kind, f"{self.read(operands[3], 'pred')} ? {a} : {b}")

    def op_setp(self, parts: list[str], operands: list[str]) -> None:
        compare, *rest, kind = parts
        self.only(rest, "ftz", "and", "or", "xor")
        flush = "ftz" if "ftz" in rest and kind == "f32" else ""
        a, b = (f"{flush}({self.read(o, kind)})" for o in operands[1:3])
        if compare in ("num", "nan"):
            value = f"{'!' if compare == 'num' else ''}__builtin_isunordered({a}, {b})"
        elif kind[0] == "f":
            either = len(compare) == 3  # true as well if one is not a number
            sign = _COMPARE[compare[:2]]
            value = f"({a} {sign} {b})"
            if either:
                value = f"(__builtin_isunordered({a}, {b}) || {value})"
            elif compare == "ne":
                value = f"(!__builtin_isunordered({a}, {b}) && {value})"
        else:
            value = f"({a} {_COMPARE[compare]} {b})"
        combine = next((_BITWISE[word] for word in rest if word in _BITWISE), None)
        if combine:
            value = f"({value} {combine} {self.read(operands[3], 'pred')})"
        self.put(operands[0], "pred", value)

    def op_cvt(self, parts: list[str], operands: list[str]) -> None:
        *how, to, of = parts
        self.only(how, "rn", "rz", "rzi", "rni", "rmi", "rpi", "ftz", "sat")
        value = self.read(operands[1], of)
        if ("sat" in how and to[0] != "f") or ("rz" in how and (to, of) != ("f64", "f32")):
            raise Unknown(f"conversion {parts}")
        if of == "f32" and "ftz" in how:
            value = f"ftz({value})"
        inward = {"rzi": "trunc", "rni": "rint", "rmi": "floor", "rpi": "ceil"}
        rounding = next((inward[word] for word in how if word in inward), None)
        if rounding:
            value = f"{rounding}({value})"
        if of[0] == "f" and to[0] != "f":
            bits = int(to[1:]) - (to[0] == "s")
            low = f"-0x1p{bits}" if to[0] == "s" else "0."
            value = f"clamped({c_type(to)}, {value}, {low}, 0x1p{bits})"
        else:
            value = f"({c_type(to)})({value})"
        if "sat" in how:
            value = f"({c_type(to)})fmin(fmax({value}, 0), 1)"
        if to == "f32" and "ftz" in how:
            value = f"ftz({value})"
        self.put(operands[0], to, value)

    # -- control ---------------------------------------------------------------------------------

    def op_bra(self, parts: list[str], operands: list[str]) -> None:
        self.lines.append(f"goto {self.variable(operands[0])};")

    def op_brx(self, parts: list[str], operands: list[str]) -> None:
        self.lines.append(f"switch ({self.read(operands[0], 'u32')}) {{")
        for i, label in enumerate(self.tables[operands[1]]):
            self.lines.append(f"case {i}: goto {self.variable(label)};")
        self.lines.append("default: __builtin_unreachable(); }")

    def op_call(self, parts: list[str], operands: list[str]) -> None:
        lists = [
            re.split(r"\s*,\s*", o.strip("() ")) if o.startswith("(") else [o] for o in operands
        ]
        returned = lists.pop(0) if operands[0].startswith("(") else []
        (name,), *given = lists
        if name not in self.symbols:
            raise Unknown(f"function {name}")
        names = [n for n in (*returned, *(given[0] if given else ())) if n]
        arguments = "".join(f", {self.variable(n)}" for n in names)
        self.lines.append(f"{self.variable(name)}(t{arguments});")

    def op_bar(self, parts: list[str], operands: list[str]) -> None:
        if parts != ["sync"] or operands != ["0"]:
            raise Unknown(f"bar.{'.'.join(parts)} {operands}")
        self.lines.append("machine_barrier(t);")

    def op_nanosleep(self, parts: list[str], operands: list[str]) -> None:
        self.lines.append(f"machine_nap(t, {self.read(operands[0], 'u32')});")

    def op_ret(self, parts: list[str], operands: list[str]) -> None:
        self.lines.append("return;")

    def op_trap(self, parts: list[str], operands: list[str]) -> None:
        self.lines.append("machine_fault(0);")
