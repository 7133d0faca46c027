"""Parallel branches that do the same become one branch with its count.

Branches are alike when nothing in the drawing but their place tells them apart. Colours decide:
steps start with the colour of what they do, and are told apart again and again by the colours of
what they read and what reads them (colour refinement; Weisfeiler and Leman, 1968).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from linvit_dsl.graph.alike import Likeness
from linvit_dsl.graph.ir import Apply, Store
from linvit_runtime.draw.labels import SYMMETRIC, details_of
from linvit_runtime.draw.simplify import Sketch


def fold_branches(drawn: Sketch) -> None:
    """Keep one of each set of alike steps, in `drawn.flow`; counts go to steps or frames."""
    colours = _refined(drawn)
    members: dict[int, list[str]] = {}
    for path, colour in colours.items():
        members.setdefault(colour, []).append(path)
    frames: dict[str, set[str]] = {}
    for first, *others in members.values():
        groups = Counter(drawn.group[path] for path in (first, *others))
        drawn.count[first] *= groups[drawn.group[first]]
        frames.setdefault(drawn.group[first], set()).update(groups)
        drawn.flow.remove_nodes_from(others)
    for frame, alike in frames.items():
        # What stands in a frame that is folded is folded with it.
        parent = drawn.expansion.groups[frame].parent if frame else ""
        if len(alike) > len(frames.get(parent, {parent})):
            drawn.count[frame] *= len(alike)


def _refined(drawn: Sketch) -> dict[str, int]:
    likeness = Likeness()
    colours = _numbered({path: _label(drawn, path, likeness) for path in drawn.flow})
    while True:
        finer = _numbered(
            {
                path: (
                    colours[path],
                    _neighbours(drawn, colours, path, reading=True),
                    _neighbours(drawn, colours, path, reading=False),
                )
                for path in drawn.flow
            }
        )
        if len(set(finer.values())) == len(set(colours.values())):
            return finer
        colours = finer


def _label(drawn: Sketch, path: str, likeness: Likeness) -> Hashable:
    step = drawn.step(path)
    frames = [drawn.expansion.groups[g] for g in drawn.around(drawn.group[path]) if g]
    around = tuple(frame.graph.qualified_name if frame.graph else "" for frame in frames)
    what: Hashable = path
    if isinstance(step.node, Apply):
        what = (step.node.op.name, details_of(step.node), tuple(drawn.notes.get(path, [])))
    elif step.node is not None and not isinstance(step.node, Store):
        what = likeness.graph(step.node.graph)
    return (what, around, step.results, drawn.count[path], drawn.title.get(path))


def _neighbours(
    drawn: Sketch, colours: dict[str, int], path: str, *, reading: bool
) -> tuple[Hashable, ...]:
    found: list[tuple[int, int]] = []
    edges = drawn.flow.in_edges if reading else drawn.flow.out_edges
    for source, target, argument in edges(path, data="argument"):
        node = drawn.step(target).node
        # A sum is the same whichever operand comes first.
        symmetric = isinstance(node, Apply) and node.op.name in SYMMETRIC
        found.append((colours[source if reading else target], 0 if symmetric else argument))
    return tuple(sorted(found))


def _numbered(keys: dict[str, Hashable]) -> dict[str, int]:
    numbers: dict[Hashable, int] = {}
    return {path: numbers.setdefault(key, len(numbers)) for path, key in keys.items()}
