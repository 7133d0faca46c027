"""`batchnorm`: channels of a map normalised by statistics of the batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from linvit_dsl.graph.ir import Initializer, Weight
from linvit_dsl.graph.size import Size
from linvit_dsl.ops.attributes import Attributes, Init, Positive, Probability
from linvit_dsl.ops.code import Code, call
from linvit_dsl.ops.initializers import check_initializer, initialized
from linvit_dsl.ops.op import BATCH, Codes, Example, Op, Saved, Tensors, Types, WeightTensors
from linvit_dsl.ops.shapes import expect_rank, fixed

if TYPE_CHECKING:
    from torch import Tensor


class BatchNorm(Op):
    """Channels of [B, c, h, w] with mean 0 and variance 1, then scaled and shifted.

    Training takes mean and variance from the batch and keeps running averages of them; evaluation
    takes those averages, so that an image does not depend on its batch (Ioffe and Szegedy 2015).
    """

    name = "batchnorm"
    family = "norm"

    class Attributes(Attributes):
        """`eps`: added to the variance. `momentum`: share of a batch in the averages.

        `init`: how the scale starts, 1 if not given.
        """

        eps: Positive = 1e-5
        momentum: Probability = 0.1
        init: Init = None

    @staticmethod
    def rule(attributes: BatchNorm.Attributes, arguments: Types) -> Types:
        (x,) = arguments
        expect_rank("batchnorm", x, 4, "[B, channels, rows, columns]")
        check_initializer(attributes.init, (fixed("batchnorm", x, 1),))
        return arguments

    @staticmethod
    def weights(attributes: BatchNorm.Attributes, arguments: Types) -> tuple[Weight, ...]:
        shape = (fixed("batchnorm", arguments[0], 1),)
        one, zero = Initializer("constant", (1.0,)), Initializer("zeros")
        return (
            Weight("weight", shape, attributes.init or one),
            Weight("bias", shape, zero),
            Weight("running_mean", shape, zero, trained=False),
            Weight("running_var", shape, one, trained=False),
            Weight("num_batches_tracked", (), zero, trained=False),
        )

    @staticmethod
    def macs(attributes: BatchNorm.Attributes, arguments: Types, results: Types) -> Size:
        return 0

    @staticmethod
    def saved(attributes: BatchNorm.Attributes, arguments: Types) -> Saved:
        # The batch's mean and inverse deviation of every channel.
        return Saved(arguments=(0,), elements=2 * fixed("batchnorm", arguments[0], 1))

    @staticmethod
    def module(attributes: BatchNorm.Attributes, arguments: Types) -> Code:
        options: dict[str, object] = {}
        for word, default in (("eps", 1e-5), ("momentum", 0.1)):
            if (value := getattr(attributes, word)) != default:
                options[word] = value
        norm = call("nn.BatchNorm2d", fixed("batchnorm", arguments[0], 1), **options)
        return initialized(norm, attributes.init)

    @staticmethod
    def call(
        attributes: BatchNorm.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        return call(str(module), *arguments)

    @staticmethod
    def reference(
        attributes: BatchNorm.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        (x,) = arguments
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, shift = (weights[name][:, None, None] for name in names)
        return (x - mean) / (variance + attributes.eps) ** 0.5 * scale + shift

    @staticmethod
    def examples() -> Iterator[Example]:
        image = (BATCH, 3, 4, 5)
        yield Example(BatchNorm.Attributes(), (image,))
        yield Example(BatchNorm.Attributes(eps=0.1, momentum=0.01), (image,), "other settings")
        yield Example(
            BatchNorm.Attributes(init=Initializer("zeros")), (image,), "a branch that starts at 0"
        )
