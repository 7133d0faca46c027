"""Random specs that are valid: the text of a file with blocks, aliases and one model `M`.

Types guide the choices: whatever is written fits the shapes that are there, so that any finding of
the checker and any two results that differ are mistakes of linvit, or of this file.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence

from tests.codegen.random_bodies import Body
from tests.codegen.random_family import Family, Made
from tests.codegen.random_sizes import Shape, Size, elements, show
from tests.codegen.random_statements import Statements
from tests.codegen.random_steps import POINTWISE, Steps

B = Size.named("B", 2)

STATICS = {
    "k: int = 3": ("k = 2", "x = x * (k / 8)"),
    "flag: bool = true": ("flag = false", "x = if flag then x else -x"),
    "act: block = gelu": ("act = layernorm", "x = x |> act{label}"),
    "m: dim = d / 2": ("m = 4", "x += x |> linear[m]{label} |> silu |> linear[d]{label}"),
    "eps: real = 1e-5": ("eps = 1e-3", "x = x |> layernorm[eps]{label}"),
    "how: init = zeros": ("how = normal[0.1]", "x += x |> linear[d, init = how]{label}"),
    "sizes: list[int] = [1, 2]": ("sizes = [3]", "for s in sizes { x += x * (s / 9) }"),
}
"""Static parameters of blocks: another value, and a statement that uses one."""


def random_spec(seed: int, *, plain: bool = False) -> str:
    """The text of a file with a model `M`, of sizes that divide 48, 64 or 96.

    Args:
        seed: The same text for the same seed.
        plain: Without dropout, and without operators that move axes or multiply two tensors.
    """
    chance = random.Random(seed)
    grid, d = chance.choice(((2, 4), (3, 4), (4, 4), (2, 6))), chance.choice((8, 12, 16, 24))
    family = Family(chance, grid, d, randomly=not plain and chance.random() < 0.4, plain=plain)
    parts = [_block(family, index) for index in range(chance.randrange(4))]
    if family.blocks and chance.random() < 0.5:
        parts.append(_alias(family))
    if chance.random() < 0.4:
        parts.append(_last_axis_block(family))
    parts.append(_model(family))
    if chance.random() < 0.2:
        parts[-1] = parts[-1].replace("model M", "model Base", 1)
        parts.append("model M = Base[rate = 0.3]")
    imports = [f"from std.{module} import {name}" for module, name in sorted(family.imports)]
    return "\n".join([*imports, *parts]) + "\n"


def _block(family: Family, index: int) -> str:
    """A block from `[B, n, d]`, once or twice, to one or two tensors, wherever it is applied."""
    chance = family.chance
    tokens = (B, Size.named("n", family.n), Size.named("d", family.d))
    names = ["x", "y"][: chance.choice((1, 1, 1, 2))]
    taken = chance.sample(sorted(STATICS), chance.randrange(4))
    steps = Steps(chance, randomly=family.randomly, plain=family.plain)
    numbers = ("2", "3", "k") if any(static.startswith("k:") for static in taken) else ("2", "3")
    body = Statements(family, steps, dict.fromkeys(names, tokens), numbers=numbers)
    body.write(chance.randrange(1, 3))
    for static in taken:
        body.lines.append(_labelled(STATICS[static][1], steps))
        body.write(chance.randrange(2))
    body.fold("x")
    wide = (*tokens[:2], tokens[2] * Size.of(2))
    results = chance.choice(
        (
            [("x", tokens)],
            [("x", tokens)],
            [("concat[-1](x, x)", wide)],
            [("x", tokens), (body.like(tokens), tokens)],
        )
    )
    given = tuple(STATICS[static][0] for static in taken)
    made = Made(f"Part{index}", len(names), tuple(shape for _, shape in results), given)
    family.blocks.append(made)
    word = chance.choice(("block", "block", "block", "float32 block"))
    return _declared(
        f"{word} {made.name}", taken, [(name, tokens) for name in names], body, results
    )


def _labelled(text: str, steps: Steps) -> str:
    while "{label}" in text:
        text = text.replace("{label}", steps.label(), 1)
    return text


def _declared(
    name: str,
    statics: Sequence[str],
    inputs: Sequence[tuple[str, Shape]],
    body: Body,
    results: Sequence[tuple[str, Shape]],
) -> str:
    parameters = ", ".join(f"{name}: {show(shape)}" for name, shape in inputs)
    shapes = ", ".join(show(shape) for _, shape in results)
    bracketed = f"[{', '.join(statics)}]" if statics else ""
    head = f"{name}{bracketed}({parameters}) -> {shapes if len(results) == 1 else f'({shapes})'}"
    returned = f"return {', '.join(text for text, _ in results)}"
    return "\n".join([f"{head} {{", *(f"  {line}" for line in [*body.lines, returned]), "}"])


def _alias(family: Family) -> str:
    """Another name for a block, perhaps with some statics given."""
    chance = family.chance
    made = chance.choice(family.blocks)
    given = [static for static in made.statics if chance.random() < 0.5]
    rest = tuple(static for static in made.statics if static not in given)
    name = f"{made.name}Variant"
    family.blocks.append(Made(name, made.inputs, made.outputs, rest))
    return f"block {name} = {made.name}" + (f"[{', '.join(given)}]" if given else "")


def _last_axis_block(family: Family) -> str:
    """A block for any leading axes; the model applies it to tokens."""
    chance = family.chance
    family.blocks.append(Made("Last", 1, ((B, *map(Size.named, "nd", (1, 1))),), ("ratio = 3",)))
    act = chance.choice(POINTWISE)
    return (
        "block Last[ratio: real = 2](x: [*s, c]) -> [*s, c] {\n"
        "  dim wide = ratio * c\n"
        f"  return x |> linear[wide]@up |> {act} |> linear[c]@down\n"
        "}"
    )


def _model(family: Family) -> str:
    chance = family.chance
    rows, columns = family.grid
    tokens = (B, Size.of(family.n), Size.of(family.d))
    maps = (B, Size.of(chance.choice((2, 3, 4))), Size.of(2 * rows), Size.of(2 * columns))
    kinds = [[("x", tokens)], [("x", tokens)], [("img", maps)], [("img", maps), ("x", tokens)]]
    inputs = chance.choice(kinds[: 2 if family.plain else 4])
    steps = Steps(chance, randomly=family.randomly, plain=family.plain)
    body = Statements(family, steps, dict(inputs), numbers=("2", "3", "k"))
    if inputs == [("img", maps)]:
        family.imports.add(("nn", "PatchEmbed"))
        body.lines.append(f"x = img |> PatchEmbed[2, {family.d}]@embed")
        body.tensors["x"] = tokens
    if chance.random() < 0.15:
        body.lines.insert(0, "defaults { linear.init = xavier; layernorm.eps = 1e-5 }")
    body.lines.append("x = x * (1 - rate)")
    body.write(chance.randrange(4, 13))
    if chance.random() < 0.8:
        body.fold("x")
    names = [name for name, shape in body.tensors.items() if elements(shape)]
    results = [(name, body.tensors[name]) for name in dict.fromkeys(["x", *names[-3:]])]
    statics = ["k: int = 3", "rate: prob = 0.1"]
    return _declared("model M", statics, inputs, body, results)


def shrunk(text: str, fails: Callable[[str], bool]) -> str:
    """A shorter text that fails as well: no statement and no declaration of it can be left out.

    Args:
        text: It fails.
        fails: Whether a text, which need not be valid, fails in the same way.
    """
    shorter = True
    while shorter:
        shorter = False
        for candidate in _without_one(text):
            if fails(candidate):
                text, shorter = candidate, True
                break
    return text


def _without_one(text: str) -> Iterator[str]:
    """The text without some statement, declaration or result, or without the braces of a loop."""
    lines = text.splitlines()
    results = re.search(r"(?m)^(model M.*-> )\((\[.*\])\) \{$((?:\n .*)*)\n  return (.*)$", text)
    if results:
        head, shapes, body, names = results.groups()
        pairs = [*zip(shapes.split("], ["), names.split(", "), strict=True)]
        for pair in pairs:
            left = [other for other in pairs if other is not pair]
            rest = ", ".join(f"[{shape.strip('[]')}]" for shape, _ in left)
            rest = f"({rest})" if len(left) > 1 else rest
            ending = f"{body}\n  return {', '.join(name for _, name in left)}"
            yield text[: results.start()] + f"{head}{rest} {{{ending}" + text[results.end() :]
    for first, line in enumerate(lines):
        depth, last = 0, first
        for last in range(first, len(lines)):
            depth += lines[last].count("{") - lines[last].count("}")
            if depth <= 0:
                break
        if line.startswith("}") or line.lstrip().startswith("}"):
            continue
        yield "\n".join(lines[:first] + lines[last + 1 :]) + "\n"
        if last > first and first and line.startswith(" "):
            yield "\n".join(lines[:first] + lines[first + 1 : last] + lines[last + 1 :]) + "\n"
