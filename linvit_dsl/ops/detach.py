"""`detach`: stop the gradient."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, Tensors, Types, WeightTensors

if TYPE_CHECKING:
    from torch import Tensor


class Detach(Movement):
    """The same numbers; backward ends here."""

    name = "detach"
    view = True

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def rule(attributes: Detach.Attributes, arguments: Types) -> Types:
        return arguments

    @staticmethod
    def call(
        attributes: Detach.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return arguments[0].method("detach")

    @staticmethod
    def reference(
        attributes: Detach.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        return arguments[0].detach().clone()

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Detach.Attributes(), ((BATCH, 3, 5),))
