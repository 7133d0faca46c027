"""`droppath`: leave out a residual branch of some images in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes, Probability
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.op import BATCH, Codes, Example, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise
from linvit_dsl.ops.shapes import axis_index

if TYPE_CHECKING:
    from torch import Tensor


class DropPath(Pointwise):
    """Stochastic depth (Huang et al. 2016): all of an image's entries are 0 with probability p."""

    name = "droppath"
    hyper = ("p",)
    random = True

    class Attributes(Attributes):
        """`p`: the probability of a zero."""

        p: Probability

    @staticmethod
    def rule(attributes: DropPath.Attributes, arguments: Types) -> Types:
        axis_index("droppath", 0, arguments[0])
        return arguments

    @staticmethod
    def saved(attributes: DropPath.Attributes, arguments: Types) -> Saved:
        # One factor per image.
        return Saved(elements=arguments[0].sizes[0] if attributes.p else 0)

    @staticmethod
    def identity(attributes: DropPath.Attributes, arguments: Types) -> bool:
        return attributes.p == 0

    @staticmethod
    def module(attributes: DropPath.Attributes, arguments: Types) -> Code:
        return call("layers.DropPath", attributes.p)

    @staticmethod
    def call(
        attributes: DropPath.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module), *arguments)

    @staticmethod
    def reference(
        attributes: DropPath.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        return arguments[0].clone()

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(DropPath.Attributes(p=0.1), ((BATCH, 3, 5),))
        yield Example(DropPath.Attributes(p=0), ((BATCH, 4),), "never")
