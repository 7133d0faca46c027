"""What differs between two models, part by part, and whether one's checkpoint fits the other.

Parts are aligned by their place in the state dict (`layers.3.attn.qkv`); those without weights by
the name of their block or operator inside the part around them. Alike changes of several layers are
one change, at `layers.0-11.attn`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from typing import Any

from linvit_dsl.graph.cost import Cost, cost
from linvit_dsl.graph.ir import Apply, BlockName, Call, Graph, Initializer, Store
from linvit_dsl.graph.ledger import Ledger, Part, Shape, joined


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Args:
        kind: `added`, `removed`, or `changed`.
        path: Where: `layers.0-11.attn`; indices of alike changes in one.
        before, after: The block or operator; "" where there is none.
        facts: Static arguments that differ, as texts: `{"heads": ("6", "8")}`.
        outputs: Shapes of the results at batch 1, where they differ.
        params, macs: How many more there are after it, in all places of `path` together.
        sizes_only: Whether the same thing stands there, and works on tensors of other sizes.
    """

    kind: str
    path: str
    before: str
    after: str
    facts: Mapping[str, tuple[str, str]]
    outputs: tuple[tuple[Shape, ...], tuple[Shape, ...]] | None
    params: int
    macs: int
    sizes_only: bool = False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How the tensors of one model fit another.

    Args:
        shared: How many have the same key and shape.
        missing: Keys that only the other model has.
        unexpected: Keys that only this one has.
        reshaped: Keys of both, with their shapes.
    """

    shared: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: Mapping[str, tuple[Shape, Shape]]

    @property
    def loads(self) -> bool:
        """Whether every tensor has its place."""
        return not (self.missing or self.unexpected or self.reshaped)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs. `statics` are those of the two models themselves."""

    costs: tuple[Cost, Cost]
    statics: Mapping[str, tuple[str, str]]
    changes: tuple[Change, ...]
    checkpoint: Checkpoint

    @property
    def equal(self) -> bool:
        """Whether the two are one architecture, whatever their names."""
        return not self.statics and not self.changes and self.checkpoint.loads


def compare(before: Graph, after: Graph) -> Comparison:
    """What has to change in `before` for it to become `after`; costs are at batch 1."""
    old, new = _parts(before), _parts(after)
    statics = _differing(_texts(before.statics), _texts(after.statics))
    told = {"": set(statics.items())}
    found: list[Change] = []
    for path in dict.fromkeys((*old, *new)):
        one, other = old.get(path), new.get(path)
        if one is not None and other is not None:
            facts = _differing(one.facts, other.facts) if one.name == other.name else {}
            known = told.get(one.around, set())
            # What a block hands down to its parts is told once.
            told[path] = known | set(facts.items())
            own = {name: both for name, both in facts.items() if (name, both) not in known}
            found += _changed(path, one, other, own)
        elif one is not None and one.around not in old.keys() - new.keys():
            found.append(Change("removed", path, one.name, "", {}, None, -one.params, -one.macs))
        elif other is not None and other.around not in new.keys() - old.keys():
            found.append(Change("added", path, "", other.name, {}, None, other.params, other.macs))
    changes = tuple(_merged(found))
    return Comparison((cost(before), cost(after)), statics, changes, _checkpoint(before, after))


def tensors_of(graph: Graph, path: str = "") -> Iterator[tuple[str, Shape]]:
    """The keys of the state dict and their shapes; a shared layer comes once for each use."""
    for node in graph.walk():
        own = joined(path, str(node.slot)) if node.slot is not None else path
        if isinstance(node, Store):
            yield own, node.weight.shape
        elif isinstance(node, Call):
            yield from tensors_of(node.graph, own)
        else:
            for weight in node.weights:
                yield joined(own, weight.name), weight.shape


@dataclass(frozen=True, slots=True)
class _Place:
    """One execution of a block or an operator. `around` is the path of the block that it is in."""

    around: str
    name: str
    is_block: bool
    facts: dict[str, str]
    outputs: tuple[Shape, ...]
    params: int
    macs: int


def _parts(graph: Graph) -> dict[str, _Place]:
    ledger = Ledger(1)
    arguments = [ledger.tensor(value.type) for value in graph.inputs]
    parts, _ = ledger.execute(graph, arguments, "", keep=True)
    found: dict[str, _Place] = {}
    _collect(graph, parts, "", found)
    return found


def _collect(graph: Graph, parts: Sequence[Part], path: str, found: dict[str, _Place]) -> None:
    used: dict[str, int] = {}
    for node, part in zip(graph.walk(), parts, strict=True):
        if part.slot is not None:
            own = joined(path, str(part.slot))
        else:
            used[part.name] = used.get(part.name, 0) + 1
            number = used[part.name]
            own = joined(path, part.name if number == 1 else f"{part.name}{number}")
        # A shared layer is one part, however often it is applied.
        if own not in found:
            found[own] = _Place(
                path,
                part.name,
                isinstance(node, Call),
                _facts(node),
                part.outputs,
                part.params,
                part.macs,
            )
        if isinstance(node, Call):
            _collect(node.graph, part.children, own, found)


def _facts(node: Apply | Call | Store) -> dict[str, str]:
    if isinstance(node, Call):
        return _texts(node.graph.statics)
    if isinstance(node, Store):
        return _texts({"init": node.weight.initializer})
    return _texts(dict(node.attributes))


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: text_of(value) for name, value in values.items()}


def text_of(value: Any) -> str:
    """A static argument as the language writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case BlockName():
            return value.rpartition(".")[2]
        case str():
            return f'"{value}"'
        case float() | Fraction():
            return f"{float(value):g}"
        case Initializer():
            arguments = ", ".join(f"{number:g}" for number in value.arguments)
            return f"{value.name}[{arguments}]" if arguments else value.name
        case tuple() | list():
            items: Sequence[Any] = value
            return f"[{', '.join(map(text_of, items))}]"
        case None:
            return "none"
        case _:
            return str(value)


def _differing(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str, str]]:
    """What differs; a static argument that only one of them has says nothing about the other."""
    return {
        name: (before[name], after[name])
        for name in before
        if name in after and before[name] != after[name]
    }


def _changed(
    path: str, one: _Place, other: _Place, facts: dict[str, tuple[str, str]]
) -> Iterator[Change]:
    outputs = (one.outputs, other.outputs) if one.outputs != other.outputs else None
    if one.name == other.name and not facts and outputs is None:
        return
    params, macs = other.params - one.params, other.macs - one.macs
    # Of an operator on tensors of other sizes, `out` and the like are no news either.
    told = bool(facts) and (one.is_block or outputs is None)
    sizes_only = one.name == other.name and not told
    yield Change("changed", path, one.name, other.name, facts, outputs, params, macs, sizes_only)


@dataclass(slots=True)
class _Run:
    """Alike changes, and the indices in their paths."""

    changes: list[Change] = field(default_factory=list)
    indices: list[tuple[int, ...]] = field(default_factory=list)


def _merged(changes: Sequence[Change]) -> Iterator[Change]:
    runs: dict[tuple[object, ...], _Run] = {}
    for change in changes:
        words = change.path.split(".")
        pattern = tuple("*" if word.isdecimal() else word for word in words)
        alike = (change.kind, change.before, change.after, tuple(change.facts), change.outputs)
        run = runs.setdefault((pattern, *alike), _Run())
        run.changes.append(change)
        run.indices.append(tuple(int(word) for word in words if word.isdecimal()))
    for run in runs.values():
        columns = [sorted(set(column)) for column in zip(*run.indices, strict=True)]
        if sorted(set(run.indices)) != list(product(*columns)):
            yield from run.changes
            continue
        yield _one(run.changes, columns)


def _one(changes: Sequence[Change], columns: Sequence[Sequence[int]]) -> Change:
    """One change for all of a run, at the indices that it covers."""
    first = changes[0]
    places = iter(columns)
    words = (_range(next(places)) if w.isdecimal() else w for w in first.path.split("."))
    facts = {
        name: (_several(change.facts[name][0] for change in changes),
               _several(change.facts[name][1] for change in changes))
        for name in first.facts
    }  # fmt: skip
    return Change(
        first.kind,
        ".".join(words),
        first.before,
        first.after,
        facts,
        first.outputs,
        sum(change.params for change in changes),
        sum(change.macs for change in changes),
        first.sizes_only,
    )


def _range(indices: Sequence[int]) -> str:
    if len(indices) > 1 and indices[-1] - indices[0] == len(indices) - 1:
        return f"{indices[0]}-{indices[-1]}"
    return ",".join(map(str, indices))


def _several(texts: Iterator[str]) -> str:
    """A text that all have, or the first and the last of different ones."""
    distinct = list(dict.fromkeys(texts))
    return distinct[0] if len(distinct) == 1 else f"{distinct[0]}..{distinct[-1]}"


def _checkpoint(before: Graph, after: Graph) -> Checkpoint:
    old, new = dict(tensors_of(before)), dict(tensors_of(after))
    both = [key for key in old if key in new]
    reshaped = {key: (old[key], new[key]) for key in both if old[key] != new[key]}
    return Checkpoint(
        len(both) - len(reshaped),
        tuple(key for key in new if key not in old),
        tuple(key for key in old if key not in new),
        reshaped,
    )
