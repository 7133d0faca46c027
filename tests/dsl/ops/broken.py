"""Operators with one mistake each, and the one check that must find it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from linvit_dsl.graph.ir import Dim, Initializer, TensorType, Weight
from linvit_dsl.graph.size import Size
from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.dropout import Dropout
from linvit_dsl.ops.exp import Exp
from linvit_dsl.ops.gelu import Gelu
from linvit_dsl.ops.layernorm import LayerNorm
from linvit_dsl.ops.linear import Linear
from linvit_dsl.ops.matmul import Matmul
from linvit_dsl.ops.movement import Movement
from linvit_dsl.ops.op import BATCH, Codes, Example, Op, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.pointwise import Pointwise


class Longer(Exp):
    """Claims an axis more than there is."""

    @staticmethod
    def rule(attributes: Any, arguments: Types) -> Types:
        return (TensorType((*arguments[0].dims, Dim(1))),)


class Biasless(Linear):
    """Does not own up to its bias."""

    @staticmethod
    def weights(attributes: Any, arguments: Types) -> tuple[Weight, ...]:
        return Linear.weights(attributes, arguments)[:1]


class Cheaper(Matmul):
    """Counts half its work."""

    @staticmethod
    def macs(attributes: Any, arguments: Types, results: Types) -> Size:
        return Matmul.macs(attributes, arguments, results) * 2


class Approximate(Gelu):
    """Computes the other GELU."""

    @staticmethod
    def call(attributes: Any, types: Types, arguments: Codes, module: Code | None) -> Code:
        other = "tanh" if attributes.approximate == "none" else "none"
        return Gelu.call(
            attributes.model_copy(update={"approximate": other}), types, arguments, module
        )


class Square(Pointwise):
    """x times x, of which one is held fixed."""

    name = "square"

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def saved(attributes: Any, arguments: Types) -> Saved:
        return Saved(arguments=(0,))

    @staticmethod
    def call(attributes: Any, types: Types, arguments: Codes, module: Code | None) -> Code:
        return Code(f"{arguments[0]} * {arguments[0]}.detach()")

    @staticmethod
    def reference(attributes: Any, arguments: Tensors, weights: WeightTensors) -> Tensor:
        return arguments[0] * arguments[0]

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Square.Attributes(), ((BATCH, 3),))


class Rooted(Movement):
    """A constant that does not follow its module to another device."""

    name = "rooted"
    arity = 0

    class Attributes(Attributes):
        """None."""

    @staticmethod
    def rule(attributes: Any, arguments: Types) -> Types:
        return (TensorType.of(3),)

    @staticmethod
    def call(attributes: Any, types: Types, arguments: Codes, module: Code | None) -> Code:
        return call("torch.ones", 3, dtype=Code("torch.float64"))

    @staticmethod
    def reference(attributes: Any, arguments: Tensors, weights: WeightTensors) -> Tensor:
        return torch.ones(3)

    @staticmethod
    def examples() -> Iterator[Example]:
        yield Example(Rooted.Attributes(), ())


class Gossip(Exp):
    """Lets an image know its neighbours."""

    @staticmethod
    def saved(attributes: Any, arguments: Types) -> Saved:
        return Saved()

    @staticmethod
    def call(attributes: Any, types: Types, arguments: Codes, module: Code | None) -> Code:
        return Code(f"{arguments[0]} - {arguments[0]}.mean(0)")

    @staticmethod
    def reference(attributes: Any, arguments: Tensors, weights: WeightTensors) -> Tensor:
        return arguments[0] - arguments[0].mean(0)


class Baked(Exp):
    """Knows only one batch size."""

    @staticmethod
    def saved(attributes: Any, arguments: Types) -> Saved:
        return Saved()

    @staticmethod
    def call(attributes: Any, types: Types, arguments: Codes, module: Code | None) -> Code:
        return arguments[0].method("reshape", 3, *types[0].sizes[1:])

    @staticmethod
    def reference(attributes: Any, arguments: Tensors, weights: WeightTensors) -> Tensor:
        return arguments[0].clone()


class Careless(Linear):
    """Starts as torch does, not as told."""

    @staticmethod
    def module(attributes: Any, arguments: Types) -> Code:
        return Linear.module(attributes.model_copy(update={"init": None}), arguments)


class OffCentre(LayerNorm):
    """Claims to start at 2, and starts at 1."""

    @staticmethod
    def weights(attributes: Any, arguments: Types) -> tuple[Weight, ...]:
        weight, bias = LayerNorm.weights(attributes, arguments)
        return Weight("weight", weight.shape, Initializer("constant", (2.0,))), bias


class Forgetful(Exp):
    """Says that backward needs its argument, where it needs its result."""

    @staticmethod
    def saved(attributes: Any, arguments: Types) -> Saved:
        return Saved(arguments=(0,))


class Idle(Dropout):
    """Thinks that a rare zero is none."""

    @staticmethod
    def identity(attributes: Any, arguments: Types) -> bool:
        return attributes.p < 0.2


BROKEN: tuple[tuple[type[Op], str], ...] = (
    (Longer, "shape"),
    (Biasless, "weights"),
    (Cheaper, "macs"),
    (Approximate, "reference"),
    (Square, "gradient"),
    (Rooted, "meta"),
    (Gossip, "batch"),
    (Baked, "batch"),
    (Careless, "start"),
    (OffCentre, "start"),
    (Forgetful, "saved"),
    (Idle, "identity"),
)
