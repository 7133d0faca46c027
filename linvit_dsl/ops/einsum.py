"""`einsum`: sums of products over named axes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from string import ascii_letters
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Dim, TensorType
from linvit_dsl.graph.size import Size, product
from linvit_dsl.ops.attributes import Attributes, Pattern
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import (
    BATCH,
    Codes,
    Example,
    Op,
    OpProblem,
    Saved,
    Tensors,
    Types,
    WeightTensors,
)
from linvit_dsl.ops.pattern import parse_pattern, refuse, spell_out

if TYPE_CHECKING:
    from torch import Tensor


class Einsum(Op):
    """One or two tensors multiplied over axes of the same name; names not on the right are summed.

    The pattern separates names by spaces: "... n m, ... l m -> ... n l".
    """

    name = "einsum"
    family = "glue"
    arity = None

    class Attributes(Attributes):
        """`pattern`: the axes of the operands and of the result."""

        pattern: Pattern

    @staticmethod
    def rule(attributes: Einsum.Attributes, arguments: Types) -> Types:
        axes = _axes(attributes.pattern, arguments)
        dims = {name: dim for named in axes.operands for name, dim in named.items()}
        return (TensorType(tuple(dims[name] for name in axes.result), arguments[0].dtype),)

    @staticmethod
    def macs(attributes: Einsum.Attributes, arguments: Types, results: Types) -> Size:
        contraction = _contraction(_axes(attributes.pattern, arguments))
        # Where one operand has no axis of its own, the other is averaged with its weights.
        return contraction.products if contraction.left and contraction.right else 0

    @classmethod
    def products(cls, attributes: Einsum.Attributes, arguments: Types, results: Types) -> Size:
        """All multiply-adds, those of weighted sums too."""
        return _contraction(_axes(attributes.pattern, arguments)).products

    @staticmethod
    def saved(attributes: Einsum.Attributes, arguments: Types) -> Saved:
        axes = _axes(attributes.pattern, arguments)
        if len(axes.operands) == 1:
            return Saved()
        whole: list[int] = []
        sums: Size = 0
        for index, named in enumerate(axes.operands):
            used = {*axes.operands[1 - index], *axes.result}
            if set(named) <= used:
                whole.append(index)
            else:
                sums += product([dim.size for name, dim in named.items() if name in used])
        return Saved(arguments=tuple(whole), elements=sums)

    @staticmethod
    def call(
        attributes: Einsum.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call("torch.einsum", _equation(attributes.pattern), *arguments)

    @staticmethod
    def reference(
        attributes: Einsum.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        axes = _axes(attributes.pattern, tuple(TensorType.of(*x.shape) for x in arguments))
        summed = [n for named in axes.operands for n in named if n not in axes.result]
        order = [*axes.result, *dict.fromkeys(summed)]
        y = arguments[0].new_ones(())
        for x, named in zip(arguments, axes.operands, strict=True):
            names = list(named)
            moved = x.permute([names.index(name) for name in order if name in named])
            y = y * moved[tuple(slice(None) if name in named else None for name in order)]
        return y.sum(tuple(range(len(axes.result), len(order)))) if summed else y

    @staticmethod
    def examples() -> Iterator[Example]:
        for pattern, *shapes in (
            ("... l m, ... l e -> ... m e", (BATCH, 2, 3, 4), (BATCH, 2, 3, 5)),
            ("k h, k b h n e -> b h n e", (4, 2), (4, BATCH, 2, 3, 5)),
            ("b n k, k b h n e -> b h n e", (BATCH, 3, 2), (2, BATCH, 4, 3, 5)),
            ("k n, b n c -> b k c", (4, 3), (BATCH, 3, 5)),
            ("b head dim, b dim -> b head", (BATCH, 2, 3), (BATCH, 3)),
            ("b i, b j -> b i j", (BATCH, 2), (BATCH, 3)),
            ("b n d, d e -> b e", (BATCH, 3, 4), (4, 5)),
            ("b i j -> b j", (BATCH, 2, 3)),
        ):
            yield Example(Einsum.Attributes(pattern=pattern), tuple(shapes), pattern)


@dataclass(frozen=True, slots=True)
class _Axes:
    """The axes of each operand by name, and the names of the result; `...` spelled out."""

    operands: tuple[dict[str, Dim], ...]
    result: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Contraction:
    """The product of two operands, each summed before over what only it has and no result.

    `left` and `right` are the names that it then has alone.
    """

    left: tuple[str, ...]
    right: tuple[str, ...]
    products: Size


def _axes(text: str, arguments: Types) -> _Axes:
    """Match the pattern with the operands.

    Raises:
        OpProblem: E0317, E0327, E0340, E0341, E0343.
    """
    pattern = parse_pattern(text)
    if len(arguments) != len(pattern.operands):
        expected = len(pattern.operands)
        raise OpProblem("E0317", name="einsum", expected=expected, given=len(arguments))
    if len(arguments) > 2:
        refuse(text, "`einsum` multiplies at most two tensors, so that its cost is known")
    if any(len(group) != 1 for side in (*pattern.operands, pattern.result) for group in side):
        refuse(text, "`einsum` has neither parentheses nor 1: use `rearrange` before or after")
    operands: list[dict[str, Dim]] = []
    where: dict[str, tuple[int, int]] = {}
    for index, (side, x) in enumerate(zip(pattern.operands, arguments, strict=True)):
        names = [name for (name,) in spell_out(pattern, side, x)]
        for axis, (name, dim) in enumerate(zip(names, x.dims, strict=True)):
            first, place = where.setdefault(name, (index, axis))
            if arguments[first].sizes[place] != dim.size:
                raise OpProblem(
                    "E0327",
                    axes=((first, place), (index, axis)),
                    pattern=text,
                    name=name.rstrip("0123456789"),
                    first=arguments[first].sizes[place],
                    second=dim.size,
                )
        operands.append(dict(zip(names, x.dims, strict=True)))
    rest = [name for name in where if name.startswith("...")]
    result = [n for (name,) in pattern.result for n in (rest if name == "..." else [name])]
    for name in result:
        if name not in where:
            problem = "stands only on the right"
            raise OpProblem("E0343", pattern=text, name=name, problem=problem)
    return _Axes(tuple(operands), tuple(result))


def _contraction(axes: _Axes) -> _Contraction:
    if len(axes.operands) == 1:
        return _Contraction((), (), 0)
    left, right = axes.operands
    own_left = tuple(name for name in left if name in axes.result and name not in right)
    own_right = tuple(name for name in right if name in axes.result and name not in left)
    shared = [name for name in left if name in right]
    summed = [name for name in shared if name not in axes.result]
    # Without a sum of products there is only a product: an outer one, or entry by entry. A result
    # without axes is a dot product, which torch does not count either.
    if not summed or not axes.result or all(left[name].size == 1 for name in summed):
        return _Contraction((), (), 0)
    sizes = {name: dim.size for name, dim in (left | right).items()}
    products = product([sizes[name] for name in (*shared, *own_left, *own_right)])
    return _Contraction(own_left, own_right, products)


def _equation(text: str) -> str:
    """The pattern as torch writes it: a letter for each name, its own where it is one."""
    pattern = parse_pattern(text)
    sides = (*pattern.operands, pattern.result)
    names = dict.fromkeys(name for side in sides for (name,) in side)
    letters = {name: name for name in names if name == "..." or name in ascii_letters}
    free = (letter for letter in ascii_letters if letter not in letters)
    letters |= {name: next(free) for name in names if name not in letters}
    *operands, result = ("".join(letters[name] for (name,) in side) for side in sides)
    return f"{','.join(operands)}->{result}"
