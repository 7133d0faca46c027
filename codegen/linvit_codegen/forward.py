"""Writes the body of `forward`: one Python statement per statement of the text.

A value without a name that is used once, in the statement that made it, becomes part of the
expression that uses it. A named value keeps its name; a later version of the same name takes over
the Python variable once nothing needs the earlier one, and gets a number until then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from linvit_codegen.intrinsics import kernel_call
from linvit_codegen.joint import joint_code, members_of, slots_of
from linvit_codegen.names import Names, function_name, is_numbered, legalise, numbered
from linvit_codegen.plan import (
    Item,
    Loop,
    Plan,
    Step,
    outer_values,
    slots_used,
    statement_of,
)
from linvit_codegen.units import Unit, Units, apply_code, has_module
from linvit_codegen.writer import Place, Writer, source_line, target
from linvit_dsl.errors import InternalError, Span
from linvit_dsl.graph.ir import Apply, Slot, Store, TensorType, Value
from linvit_dsl.graph.size import Poly
from linvit_dsl.ops.code import Code


@dataclass(frozen=True, slots=True)
class _Expression:
    """Code, and the variables that it reads."""

    code: Code
    reads: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a body can refer to.

    Args:
        units: Tells blocks apart from kernels.
        functions: Name of the function of each unit that is one; other units are submodules.
        variables: Python names of values.
        slots: Python names of submodules, weights and buffers.
        lengths: How many elements each indexed slot of the class has.
    """

    units: Units
    functions: Mapping[Unit, str]
    variables: Names
    slots: Names
    lengths: Mapping[str, int]


class Forward:
    """Writes one body.

    Args:
        writer: Where to.
        unit: What is written.
        plan: What it does.
        scope: What it can refer to.
    """

    def __init__(self, writer: Writer, unit: Unit, plan: Plan, scope: Scope) -> None:
        self._writer = writer
        self._graph = unit.graph
        self._plan = plan
        self._scope = scope
        self._names = scope.variables
        self._block = unit.graph.qualified_name
        self._left: Counter[Value] = Counter(plan.uses)
        self._code: dict[Value, _Expression] = {}
        self._holds: dict[str, Value] = {}
        self._loop_slots: dict[str, Code] = {}
        self._commented: Span | None = None
        self._batch: Code | None = None
        self._named = {
            (node.statement, plan.name(value))
            for node in unit.graph.walk()
            if not isinstance(node, Store)
            for value in node.results
        }
        for value in self._graph.inputs:
            self._set(self._names[value.name], value)

    def write(self, indent: int) -> None:
        """Write all statements and the `return`."""
        if _needs_batch(self._plan.items):
            self._find_batch(indent)
        self._items(self._plan.items, indent)
        results = [self._read(value) for value in self._plan.outputs]
        place = None
        last = self._plan.items[-1] if self._plan.items else None
        if last is not None and self._is_inline(last):
            place = self._comment(last, indent)
        text = ", ".join(str(expression.code) for expression in results)
        self._writer.statement(indent, "return ", text, place=place)

    def _items(self, items: tuple[Item, ...], indent: int) -> None:
        for item in items:
            if isinstance(item, Loop):
                self._loop(item, indent)
            else:
                self._step(item, indent)

    def _step(self, step: Step, indent: int) -> None:
        expression = self._apply(step)
        if self._is_inline(step):
            self._code[step.node.results[0]] = expression
            return
        place = self._comment(step, indent)
        self._release(expression)
        targets = self._targets(step)
        self._writer.statement(
            indent, f"{', '.join(targets)} = ", str(expression.code), place=place
        )

    def _apply(self, step: Step) -> _Expression:
        node = step.node
        arguments = [self._read(value) for value in step.arguments]
        codes = tuple(argument.code for argument in arguments)
        reads = tuple(value for argument in arguments for value in argument.reads)
        if isinstance(node, Apply):
            module = self._at(node.slot) if node.slot is not None and has_module(node) else None
            batch = self._batch or Code("batch")
            return _Expression(apply_code(node, codes, step.types, module, batch), reads)
        if modules := tuple(map(self._at, slots_of(node) if members_of(node) else ())):
            return _Expression(joint_code(codes[0], modules), reads)
        kernel = kernel_call(node.graph, codes, self._scope.units.kernels)
        if kernel is not None:
            return _Expression(kernel, reads)
        function = self._scope.functions.get(self._scope.units[node.graph])
        if function is None:
            if node.slot is None:
                raise InternalError(f"{node.graph.qualified_name} holds weights but has no slot")
            function = str(self._at(node.slot))
        return _Expression(Code(f"{function}({', '.join(map(str, codes))})"), reads)

    def _at(self, slot: Slot) -> Code:
        """The submodule or weight of a slot."""
        if slot.name in self._loop_slots:
            return self._loop_slots[slot.name]
        name = self._scope.slots[slot.name]
        return Code(f"self.{name}" if slot.index is None else f"self.{name}[{slot.index}]")

    def _read(self, value: Value) -> _Expression:
        if value in self._plan.stores:
            return _Expression(self._at(self._plan.stores[value]), ())
        return self._code[value]

    def _is_inline(self, item: Item) -> bool:
        """Whether the result becomes part of the one expression that uses it."""
        if isinstance(item, Loop) or len(item.node.results) != 1:
            return False
        (value,) = item.node.results
        if self._plan.name(value) or self._plan.uses[value] != 1:
            return False
        (reader,) = self._plan.readers[value]
        if reader is None:
            return item.node.statement.text.startswith("return") or self._plan.items[-1] is item
        return isinstance(reader, Step) and reader.node.statement == item.node.statement

    def _release(self, expression: _Expression) -> None:
        for value in expression.reads:
            self._left[value] -= 1

    def _set(self, variable: str, value: Value) -> None:
        self._holds[variable] = value
        self._code[value] = _Expression(Code(variable), (value,))

    def _is_free(self, variable: str) -> bool:
        return variable not in self._holds or self._left[self._holds[variable]] <= 0

    def _variable(self, word: str, value: Value) -> str:
        """Take a variable for `value`: the name itself, or numbered while that is in use."""
        base = self._names.get(word, legalise(word))
        for name in numbered(base):
            spoken_for = name in self._names.used and (name != base or word not in self._names)
            if self._is_free(name) and not spoken_for:
                self._set(name, value)
                return name
        raise AssertionError("numbers do not end")

    def _targets(self, step: Step) -> list[str]:
        results = step.node.results
        targets: list[str] = []
        for index, value in enumerate(results):
            if self._plan.uses[value]:
                word = self._plan.name(value) or self._hint(step, index)
                targets.append(self._variable(word, value))
            else:
                targets.append("_")
        return targets

    def _hint(self, step: Step, index: int) -> str:
        """A name for a value that the text gives none: that of the list it goes into, or its op."""
        node = step.node
        if members_of(node):
            return slots_of(node)[index].name
        word = target(node.statement)
        if word and (node.statement, word) not in self._named:
            return word
        word = node.op.name if isinstance(node, Apply) else node.graph.name
        return function_name(word, ())

    def _comment(self, item: Item, indent: int) -> Place:
        """Quote the statement, unless the line above did."""
        statement = statement_of(item)
        if statement != self._commented:
            self._commented = statement
            self._writer.comment(indent, source_line(statement))
        return Place(statement, self._block)

    def _loop(self, loop: Loop, indent: int) -> None:
        place = self._comment(loop, indent)
        outer = outer_values(loop)
        for value in outer:
            self._left[value] += 1
        variables = [self._enter(loop, index, indent, place) for index in range(len(loop.carried))]
        saved = dict(self._loop_slots)
        running = self._for(loop, indent, place)
        self._items(loop.body, indent + 4)
        moves = [
            (variable, str(self._read(carry.leaving).code))
            for variable, carry in zip(variables, loop.carried, strict=True)
            if str(self._read(carry.leaving).code) != variable
        ]
        if moves:
            targets, sources = zip(*moves, strict=True)
            self._writer.statement(
                indent + 4, f"{', '.join(targets)} = ", ", ".join(sources), place=place
            )
        self._loop_slots = saved
        for carry, variable in zip(loop.carried, variables, strict=True):
            self._left[carry.leaving] -= 1
            self._set(variable, carry.final)
        for value in (*outer, *running):
            self._left[value] -= 1
        self._commented = None

    def _enter(self, loop: Loop, index: int, indent: int, place: Place) -> str:
        """The variable of a carried value; a copy where the entering value is needed later."""
        carry = loop.carried[index]
        entering = self._read(carry.entering)
        self._release(entering)
        variable = str(entering.code)
        owned = entering.reads == (carry.entering,) and self._left[carry.entering] <= 0
        if owned and is_numbered(variable, self._names[carry.name]):
            self._set(variable, carry.inside)
            return variable
        variable = self._variable(carry.name, carry.inside)
        self._writer.statement(indent, f"{variable} = ", str(entering.code), place=place)
        return variable

    def _for(self, loop: Loop, indent: int, place: Place) -> list[Value]:
        """Write the head of a loop, and bind what runs over slots, which is returned."""
        used = list(slots_used(loop.body))
        used += [self._plan.stores[v] for v in outer_values(loop) if v in self._plan.stores]
        ranges: dict[str, Slot] = {s.name: s for s in used if s.index is not None}
        ranges = {n: s for n, s in ranges.items() if n not in self._loop_slots}
        running: list[Value] = []
        targets: list[str] = []
        lists: list[str] = []
        for name, slot in ranges.items():
            if name not in self._scope.lengths:
                continue
            variable, value = self._own(_singular(self._scope.slots[name]))
            self._loop_slots[name] = Code(variable)
            running.append(value)
            targets.append(variable)
            lists.append(self._slice(name, slot, loop.count))
        head = f"for {', '.join(targets) or '_'} in "
        source = f"zip({', '.join(lists)})" if len(lists) > 1 else "".join(lists)
        self._writer.statement(indent, head, source or f"range({loop.count})", ":", place)
        return running

    def _own(self, word: str) -> tuple[str, Value]:
        """Take a variable of the emitter's own, in use until its value is released."""
        value = Value(TensorType(()), self._graph.span)
        self._left[value] = 1
        return self._variable(word, value), value

    def _slice(self, name: str, slot: Slot, count: int) -> str:
        first = slot.index or 0
        stop = first + count
        whole = f"self.{self._scope.slots[name]}"
        if first == 0 and stop == self._scope.lengths[name]:
            return whole
        start = str(first) if first else ""
        end = str(stop) if stop != self._scope.lengths[name] else ""
        return f"{whole}[{start}:{end}]"

    def _find_batch(self, indent: int) -> None:
        """Settle how the body says the size of the batch: by an input that stays what it is."""
        names = Counter(
            self._plan.name(value) for value in _results(self._plan.items) if self._plan.uses[value]
        )
        for value in self._graph.inputs:
            for axis, size in enumerate(value.type.sizes):
                factor = size.exact_div(Poly.symbol("B")) if isinstance(size, Poly) else None
                if factor is None or factor.constant is None or not factor.integral:
                    continue
                share = "" if factor.constant == 1 else f" // {factor.constant}"
                text = f"{self._names[value.name]}.shape[{axis}]{share}"
                if not names[value.name] and not share:
                    self._left[value] += 1
                    self._batch = Code(text)
                else:
                    variable, _ = self._own("batch")
                    self._writer.statement(indent, f"{variable} = ", text)
                    self._batch = Code(variable)
                return
        raise InternalError(f"{self._block} needs the batch, and none of its inputs has it")


def _needs_batch(items: tuple[Item, ...]) -> bool:
    """Whether some expression says the size of the batch."""
    return any(
        _needs_batch(item.body) if isinstance(item, Loop) else _says_batch(item) for item in items
    )


def _says_batch(step: Step) -> bool:
    node = step.node
    if not isinstance(node, Apply) or not node.op.needs_batch:
        return False
    arguments = (Code("x"),) * len(step.arguments)
    texts = {apply_code(node, arguments, step.types, None, Code(b)).text for b in ("a", "b")}
    return len(texts) == 2


def _results(items: tuple[Item, ...]) -> list[Value]:
    found: list[Value] = []
    for item in items:
        if isinstance(item, Loop):
            found += [carry.inside for carry in item.carried]
            found += _results(item.body)
        else:
            found += item.node.results
    return found


def _singular(name: str) -> str:
    """`layers` gives `layer`."""
    return name[:-1] if len(name) > 3 and name.endswith("s") and not name.endswith("ss") else name
