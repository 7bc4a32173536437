"""PTX loads, stores, atomic operations and fences, as C."""

from __future__ import annotations

import re

from operands import Operands, Unknown, c_type, size

_ORDERS = {"relaxed": "RELAXED", "acquire": "ACQUIRE", "release": "RELEASE", "acq_rel": "ACQ_REL"}
_SPACES = {"global", "shared", "local", "const", "param"}
_SCOPES = {"cta", "gpu", "sys"}


class Accesses(Operands):
    """What reaches memory; what is not surely within the card's, "far", is checked for it."""

    @staticmethod
    def only(parts: list[str], *known: str) -> None:
        """Refuse modifiers that were not thought of."""
        if unknown := set(parts) - set(known):
            raise Unknown(f"modifiers {sorted(unknown)}")

    @staticmethod
    def named(operation: str, parts: list[str]) -> str:
        """Return the name by which an order can be taken out, such as "ld.acquire.gpu"."""
        words = [word for word in parts if word in _ORDERS or word in _SCOPES]
        return '"' + ".".join((operation, *words)) + '"'

    def reach(self, parts: list[str], operand: str) -> tuple[str, str, str | None]:
        """Return the C address of an access, its PTX type and its memory order, if it has one."""
        *how, kind = parts
        found = re.match(r"\[(.*)\]$", operand)
        if not found:
            raise Unknown(f"address {operand}")
        self.only(how, *_SPACES, *_SCOPES, *_ORDERS, "volatile", "nc", "v2", "v4", "weak")
        order = next((_ORDERS[word] for word in how if word in _ORDERS), None)
        if "volatile" in how:
            order = "RELAXED"
        return self.address(found[1]), kind, order

    def op_ld(self, parts: list[str], operands: list[str]) -> None:
        at, kind, order = self.reach(parts, operands[1])
        where = "near" if {"param", "local", "shared", "const"} & set(parts) else "far"
        names = operands[0].strip("{}").split(",")
        for i, name in enumerate(names):
            place = f"{at} + {i * size(kind)}"
            if order:
                self.lines.append("machine_glance(t);")
                known_as = self.named("ld", parts)
                value = f"load_in_order({c_type(kind)}, {where}, {place}, {order}, {known_as})"
            else:
                value = f"load({c_type(kind)}, {where}, {place})"
            self.put(name.strip(), kind, value)

    def op_st(self, parts: list[str], operands: list[str]) -> None:
        at, kind, order = self.reach(parts, operands[0])
        where = "near" if {"param", "local", "shared"} & set(parts) else "far"
        for i, name in enumerate(operands[1].strip("{}").split(",")):
            value, place = self.read(name, kind), f"{at} + {i * size(kind)}"
            if order:
                where_to = f"{c_type(kind)}, {where}, {place}, {value}"
                known_as = self.named("st", parts)
                self.lines.append(f"store_in_order({where_to}, {order}, {known_as});")
            else:
                self.lines.append(f"store({c_type(kind)}, {where}, {place}, {value});")

    def op_atom(self, parts: list[str], operands: list[str], operation_name: str = "atom") -> None:
        *how, operation, kind = parts
        self.only(how, *_SPACES, *_SCOPES, *_ORDERS)
        order = next((_ORDERS[word] for word in how if word in _ORDERS), "RELAXED")
        target, place, *values = operands
        where = "near" if "shared" in how else "far"
        at, _, _ = self.reach([kind], place)
        given = [self.read(v, kind) for v in values]
        builtin = {"add": "add", "and": "and", "or": "or", "xor": "xor"}.get(operation)
        if operation == "exch":
            builtin = "exchange"
        if operation == "cas":
            value = f"compare_and_swap({c_type(kind)}, {where}, {at}, {given[0]}, {given[1]})"
        elif builtin is None or kind[0] == "f":
            formula = {"add": "old + new", "min": "old < new ? old : new"}
            formula["max"] = "old > new ? old : new"
            if operation not in formula:
                raise Unknown(f"atom.{operation}.{kind}")
            value = f"update({c_type(kind)}, {where}, {at}, {given[0]}, {formula[operation]})"
        else:
            known_as = self.named(operation_name, parts)
            value = (
                f"atomic({builtin}, {c_type(kind)}, {where}, {at}, {given[0]}, {order}, {known_as})"
            )
        if target:
            self.put(target, kind, value)
        else:
            self.lines.append(f"(void){value};")
        self.lines.append("machine_glance(t);")

    def op_red(self, parts: list[str], operands: list[str]) -> None:
        self.op_atom(parts, ["", *operands], "red")

    def op_membar(self, parts: list[str], operands: list[str]) -> None:
        self.lines.append(f"fence({self.named('membar', parts)});")

    def op_fence(self, parts: list[str], operands: list[str]) -> None:
        self.lines.append(f"fence({self.named('fence', parts)});")
