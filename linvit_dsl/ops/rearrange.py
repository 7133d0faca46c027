"""`rearrange`: move, split and join axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.graph.size import at_batch
from linvit_dsl.ops.attributes import Attributes, Axes, Pattern
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, Tensors, Types, WeightTensors
from linvit_dsl.ops.pattern import concrete, open_axes, solve
from linvit_dsl.ops.pattern_code import chain, rearrangement

if TYPE_CHECKING:
    from torch import Tensor


class Rearrange(Movement):
    """The same numbers under other axes: "b n (h c) -> b h n c"."""

    name = "rearrange"

    class Attributes(Attributes):
        """`axes`: sizes that the shape leaves open (`h = 8`)."""

        pattern: Pattern
        axes: Axes = ()

    @staticmethod
    def rule(attributes: Rearrange.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        solution = solve("rearrange", attributes.pattern, attributes.axes, x)
        return (TensorType(solution.dims, x.dtype),)

    @staticmethod
    def identity(attributes: Rearrange.Attributes, arguments: Types) -> bool:
        solution = solve("rearrange", attributes.pattern, attributes.axes, arguments[0])
        return solution.before == solution.after

    @staticmethod
    def call(
        attributes: Rearrange.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        solution = solve("rearrange", attributes.pattern, attributes.axes, types[0])
        return chain(arguments[0], rearrangement(solution))

    @staticmethod
    def reference(
        attributes: Rearrange.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        shape = TensorType.of(*x.shape)
        solution = solve("rearrange", attributes.pattern, concrete(attributes.axes), shape)
        opened, names = open_axes(x, solution)
        order = [names.index(name) for group in solution.after for name in group]
        return opened.permute(order).reshape([at_batch(dim.size, 1) for dim in solution.dims])

    @staticmethod
    def examples() -> Iterator[Example]:
        for pattern, shape, sizes in (
            ("b n (h c) -> b h n c", (BATCH, 5, 6), {"h": 2}),
            ("b h n c -> b n (h c)", (BATCH, 2, 5, 3), {}),
            ("b d h w -> b (h w) d", (BATCH, 4, 2, 3), {}),
            ("b (h w) d -> b d h w", (BATCH, 6, 4), {"h": 2, "w": 3}),
            ("b d h w -> b h w d", (BATCH, 4, 2, 3), {}),
            ("b h (r c) e -> b h r c e", (BATCH, 2, 6, 3), {"r": 2, "c": 3}),
            ("b n k c -> b n (k c)", (BATCH, 3, 2, 4), {}),
            ("b (m s) d -> b m (s d)", (BATCH, 6, 4), {"s": 2}),
            ("(b g) n d -> b g n d", (4 * BATCH, 3, 2), {"g": 4}),
            ("b g n d -> (b g) n d", (BATCH, 4, 3, 2), {}),
            ("b h g m 1 -> b h g 1 m", (BATCH, 2, 3, 4, 1), {}),
            ("b h n 1 e -> b h n e", (BATCH, 2, 3, 1, 4), {}),
            ("b h n e -> b h n 1 e", (BATCH, 2, 3, 4), {}),
            ("k -> k 1", (4,), {}),
            ("... n (h c) -> ... h n c", (BATCH, 5, 6), {"h": 2}),
            (
                "b h (r i p) (c j q) e -> b h (r c p q) (i j) e",
                (BATCH, 2, 8, 12, 3),
                {"i": 2, "p": 2, "j": 3, "q": 2},
            ),
        ):
            axes = tuple(sizes.items())
            yield Example(Rearrange.Attributes(pattern=pattern, axes=axes), (shape,), pattern)
