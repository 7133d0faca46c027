"""`attend`: softmax attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.graph.size import Size, product
from linvit_dsl.ops.attributes import Attributes, Positive
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
from linvit_dsl.ops.shapes import axis_index, broadcast, clash, difference

if TYPE_CHECKING:
    from torch import Tensor


class Attend(Op):
    """softmax(scale q k^T + bias) v: q [*b, n, e], k [*b, l, e], v [*b, l, c] -> [*b, n, c].

    `keep` holds zeros and ones, `bias` numbers that are added to the scores; both are optional and
    stretch to [*b, n, l]. A row that keeps nothing gives 0.
    """

    name = "attend"
    family = "softmax_attention"
    arity = 3
    keywords = ("keep", "bias")

    class Attributes(Attributes):
        """`scale`: of the scores; e^(-1/2) if not given."""

        scale: Positive | None = None
        given: tuple[Literal["keep", "bias"], ...] = ()

    @staticmethod
    def rule(attributes: Attend.Attributes, arguments: Types) -> Types:
        q, k, v = arguments[:3]
        for x in (q, k, v):
            axis_index("attend", -2, x)
        _expect_fit(q, k, v)
        for index, word in enumerate(attributes.given, 3):
            _expect_stretch(word, index, arguments[index], {"q": q, "k": k, "v": v})
        return (TensorType((*q.dims[:-1], v.dims[-1]), q.dtype),)

    @staticmethod
    def macs(attributes: Attend.Attributes, arguments: Types, results: Types) -> Size:
        q, k, v = arguments[:3]
        pairs = product([*q.sizes[:-1], k.sizes[-2]])
        return pairs * q.sizes[-1] + pairs * v.sizes[-1]

    @staticmethod
    def saved(attributes: Attend.Attributes, arguments: Types) -> Saved:
        # Flash attention recomputes the scores from the logarithm of each row's sum.
        elements = product(arguments[0].sizes[:-1])
        if attributes.given == ("keep", "bias"):  # joined, they are one more tensor
            elements += product([dim.size for dim in broadcast(*arguments[3:])])
        return Saved(arguments=tuple(range(len(arguments))), results=(0,), elements=elements)

    @staticmethod
    def call(
        attributes: Attend.Attributes, types: Types, arguments: Codes, module: Code | None
    ) -> Code:
        options: dict[str, object] = dict(zip(attributes.given, arguments[3:], strict=True))
        if attributes.scale is not None:
            options["scale"] = attributes.scale
        # torch has fused kernels for four axes only; `layers.attend` brings others to four.
        plain = not attributes.given and len(types[0].dims) == 4
        function = "F.scaled_dot_product_attention" if plain else "layers.attend"
        return call(function, *arguments[:3], **options)

    @staticmethod
    def reference(
        attributes: Attend.Attributes, arguments: Tensors, weights: WeightTensors
    ) -> Tensor:
        q, k, v = arguments[:3]
        scale = q.shape[-1] ** -0.5 if attributes.scale is None else attributes.scale
        scores = (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) * scale
        named = dict(zip(attributes.given, arguments[3:], strict=True))
        if "bias" in named:
            scores = scores + named["bias"]
        if "keep" in named:
            # Before the largest is taken: a key that nobody sees may have a far larger score.
            scores = scores.masked_fill(named["keep"] == 0, float("-inf"))
        peak = scores.amax(-1, keepdim=True).detach()
        weight = (scores - peak.masked_fill(peak.isneginf(), 0)).exp()
        total = weight.sum(-1, keepdim=True)
        return (weight / (total + (total == 0))) @ v

    @staticmethod
    def examples() -> Iterator[Example]:
        q, k = (BATCH, 2, 3, 4), (BATCH, 2, 5, 4)
        yield Example(Attend.Attributes(), (q, k, k))
        yield Example(Attend.Attributes(), (q, k, (BATCH, 2, 5, 6)), "other values")
        yield Example(Attend.Attributes(scale=0.3), (q, k, k), "another scale")
        three = ((BATCH, 3, 4), (BATCH, 5, 4), (BATCH, 5, 4))
        yield Example(Attend.Attributes(), three, "without heads")
        five = ((BATCH, 2, 3, 1, 4), (BATCH, 2, 3, 5, 4), (BATCH, 2, 3, 5, 4))
        yield Example(Attend.Attributes(), five, "five axes")
        masked = ("normal", "normal", "normal", "mask")
        keep = Attend.Attributes(given=("keep",))
        yield Example(keep, (q, k, k, (1, 1, 3, 5)), "a mask", masked)
        yield Example(keep, (*five, (1, 1, 3, 1, 5)), "a mask of windows", masked)
        bias = Attend.Attributes(given=("bias",), scale=0.3)
        yield Example(bias, (q, k, k, (2, 3, 5)), "a bias")
        yield Example(bias, (*five, (2, 1, 1, 5)), "a bias of windows")
        both = Attend.Attributes(given=("keep", "bias"))
        yield Example(both, (q, k, k, (BATCH, 1, 3, 5), (2, 1, 5)), "a mask and a bias", masked)


def _expect_fit(q: TensorType, k: TensorType, v: TensorType) -> None:
    """Demand that queries, keys and values fit.

    Raises:
        OpProblem: E0326.
    """
    slots = {"q": q, "k": k, "v": v}
    ranks = {len(q.dims), len(k.dims), len(v.dims)}
    if len(ranks) > 1:
        _refuse("their numbers of axes differ", (), slots)
    last = len(q.dims) - 1
    for index, other in ((1, k), (2, v)):
        lead = TensorType(q.dims[:-2]), TensorType(other.dims[:-2])
        if (axis := difference(*lead)) is not None:
            _refuse(f"axis {axis} differs", ((0, axis), (index, axis)), slots)
    if q.sizes[last] != k.sizes[last]:
        channels = f"a query has {q.sizes[last]} channels, a key {k.sizes[last]}"
        _refuse(channels, ((0, last), (1, last)), slots)
    if k.sizes[last - 1] != v.sizes[last - 1]:
        counts = f"there are {k.sizes[last - 1]} keys and {v.sizes[last - 1]} values"
        _refuse(counts, ((1, last - 1), (2, last - 1)), slots)


def _expect_stretch(word: str, index: int, x: TensorType, slots: dict[str, TensorType]) -> None:
    """Demand that argument `index` has an entry, or one that stretches, for every score.

    Raises:
        OpProblem: E0326.
    """
    scores = TensorType((*slots["q"].dims[:-1], slots["k"].dims[-2]))
    axes = clash(x, scores)
    if axes is None and broadcast(scores, x) == scores.dims:
        return
    places = ((index, axes[0]),) if axes else ()
    what = "mask" if word == "keep" else word
    _refuse(f"the {what} {x} does not stretch to {scores}", places, slots)


def _refuse(problem: str, axes: tuple[tuple[int, int], ...], slots: dict[str, Any]) -> NoReturn:
    raise OpProblem("E0326", axes=axes, difference=problem, **slots)
