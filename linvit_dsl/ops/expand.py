"""`expand`: repeat along new axes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.graph.size import Poly, at_batch
from linvit_dsl.ops.attributes import Attributes, Axes, Pattern
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, OpProblem, Tensors, Types, WeightTensors
from linvit_dsl.ops.pattern import concrete, open_axes, solve
from linvit_dsl.ops.pattern_code import chain, expansion, upsampling

if TYPE_CHECKING:
    from torch import Tensor


class Expand(Movement):
    """Axes that stand only on the right are new: "1 1 d -> b 1 d" repeats a token in the batch."""

    name = "expand"
    needs_batch = True

    class Attributes(Attributes):
        """`axes`: the sizes of the new axes; the batch is `b = B`."""

        pattern: Pattern
        axes: Axes = ()

    @staticmethod
    def rule(attributes: Expand.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        for name, size in attributes.axes:
            multiple = size.exact_div(BATCH) if isinstance(size, Poly) else BATCH
            if multiple is None or not multiple.integral:
                problem = f"is {size}, which is no multiple of the batch"
                raise OpProblem("E0343", pattern=attributes.pattern, name=name, problem=problem)
        solution = solve("expand", attributes.pattern, attributes.axes, x, new=True)
        return (TensorType(solution.dims, x.dtype),)

    @staticmethod
    def call(
        attributes: Expand.Attributes,
        types: Types,
        arguments: Codes,
        module: Code | None,
        batch: Code | None = None,
    ) -> Code:
        solution = solve("expand", attributes.pattern, attributes.axes, types[0], new=True)
        if factors := upsampling(solution):
            # A map made of tokens has its channels last in memory, which suits the convolution that
            # follows; this keeps them there, repeat_interleave would not. Backward is a plain sum,
            # and so deterministic on a GPU too.
            return call("F.interpolate", *arguments, scale_factor=factors, mode="nearest")
        assert batch is not None, "an operator that needs the batch is called with it"
        return chain(arguments[0], expansion(solution, batch))

    @staticmethod
    def reference(
        attributes: Expand.Attributes,
        arguments: Tensors,
        weights: WeightTensors,
        batch: int | None = None,
    ) -> Tensor:
        (x,) = arguments
        shape, axes = TensorType.of(*x.shape), concrete(attributes.axes, batch)
        solution = solve("expand", attributes.pattern, axes, shape, new=True)
        y, names = open_axes(x, solution)
        after = [name for group in solution.after for name in group]
        y = y.permute([names.index(name) for name in after if name in names])
        for axis, name in enumerate(after):
            if name not in names:
                import torch

                y = torch.stack([y] * at_batch(solution.sizes[name], 1), axis)
        return y.reshape([at_batch(dim.size, 1) for dim in solution.dims])

    @staticmethod
    def examples() -> Iterator[Example]:
        for pattern, shape, sizes in (
            ("1 1 d -> b 1 d", (1, 1, 4), {"b": BATCH}),
            ("1 r d -> b r d", (1, 2, 4), {"b": BATCH}),
            ("m d -> b m d", (3, 4), {"b": BATCH}),
            ("b d h w -> b d (h p) (w q)", (BATCH, 2, 3, 4), {"p": 2, "q": 3}),
            ("b d h w -> b d (h p) (w q)", (BATCH, 2, 3, 4), {"p": 1, "q": 2}),
            ("b n d -> b n (p d)", (BATCH, 2, 3), {"p": 2}),
            ("b d -> b n d", (BATCH, 3), {"n": 2}),
            ("b (h d) -> b d n h", (BATCH, 6), {"h": 2, "n": 2}),
        ):
            axes = tuple(sizes.items())
            yield Example(Expand.Attributes(pattern=pattern, axes=axes), (shape,), pattern)
