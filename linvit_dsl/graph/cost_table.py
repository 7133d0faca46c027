"""The cost tree as a table of text: one row per part, columns aligned, no colour codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from linvit_dsl.graph.cost import Cost, CostNode
from linvit_dsl.graph.ledger import Shape

HEADINGS = ("part", "output", "params", "MACs", "share", "kept", "line")
LEFT = (True, False, False, False, False, False, True)
GAP = "  "


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of the table and the part that it shows, for whoever wants to colour it."""

    cells: tuple[str, ...]
    node: CostNode


def render_cost(cost: Cost, *, depth: int | None = None) -> str:
    """The totals, then a table of the parts, `depth` levels deep (None: all of them).

    Parts that cost nothing (no weights, no multiply-adds, nothing kept) are left out. `share` is
    that of the multiply-adds; `kept` is what autograd keeps for backward.
    """
    rows = list(table_rows(cost, depth=depth))
    lines = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    head = totals(cost)
    return "\n".join([*head, "", *(_aligned(line, widths) for line in lines)]) + "\n"


def totals(cost: Cost) -> list[str]:
    """The lines above the table: what the whole costs, and the convention of counting."""
    images = "1 image" if cost.batch == 1 else f"{cost.batch} images"
    facts = (
        ("params", f"{cost.params:,}", ""),
        ("MACs", f"{cost.macs:,}", f"1 MAC = 2 FLOP: {cost.flops:,} FLOPs"),
        ("kept", f"{cost.activation_bytes:,} B", "activations kept for backward, float32"),
    )
    width = max(len(number) for _, number, _ in facts)
    lines = [f"{word:<6}  {number:>{width}}  {note}".rstrip() for word, number, note in facts]
    return [f"{cost.model}, {images}", *lines]


def table_rows(cost: Cost, *, depth: int | None = None) -> Iterator[TableRow]:
    """The rows below the headings, parents first."""
    yield from _rows(cost.tree, "", "", depth, cost.macs)


def _rows(
    nodes: tuple[CostNode, ...], path: str, stem: str, depth: int | None, macs: int
) -> Iterator[TableRow]:
    shown = [node for node in nodes if node.params or node.macs or node.activation_bytes]
    for node in shown:
        last = node is shown[-1]
        yield TableRow(_cells(node, path, stem + ("└─ " if last else "├─ "), macs), node)
        if depth is None or depth > 1:
            below = None if depth is None else depth - 1
            inside = stem + ("   " if last else "│  ")
            yield from _rows(node.children, node.path, inside, below, macs)


def _cells(node: CostNode, path: str, stem: str, macs: int) -> tuple[str, ...]:
    label = node.path[len(path) + 1 if path else 0 :]
    # A part without a slot is labelled by its own name: say it once.
    title = node.name if label.startswith(node.name) else f"{label}  {node.name}"
    times = f" ×{node.count}" if node.count > 1 else ""
    return (
        stem + title + times,
        _outputs(node.outputs),
        f"{node.params:,}" if node.params else "",
        f"{node.macs:,}" if node.macs else "",
        _percent(node.macs, macs),
        bytes_text(node.activation_bytes) if node.activation_bytes else "",
        node.line,
    )


def shape_text(shape: Shape) -> str:
    """`1×65×384`."""
    return "×".join(map(str, shape))


def _outputs(shapes: tuple[Shape, ...]) -> str:
    texts = list(dict.fromkeys(map(shape_text, shapes)))
    alike = len(texts) == 1 and len(shapes) > 1
    return f"{len(shapes)} of {texts[0]}" if alike else ", ".join(texts)


def bytes_text(count: int) -> str:
    """A number of bytes in decimal units: `20.6 MB`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if part else ""


def _aligned(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = [
        cell.ljust(width) if left else cell.rjust(width)
        for cell, width, left in zip(cells, widths, LEFT, strict=True)
    ]
    return GAP.join(padded).rstrip()
