"""The contract of a primitive operator: one class answers every question about it.

What is asked of each operator is the same short list (static arguments, result shapes, weights,
multiply-adds, what backward keeps, the PyTorch call, a float64 reference, examples), while the list
of operators grows. So an operator is one file with one class; completeness is enforced when the
class is created, and one generic test goes through all of them by their examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from linvit_dsl.graph.ir import TensorType, Weight
from linvit_dsl.graph.size import Poly, Size
from linvit_dsl.ops.attributes import Attributes
from linvit_dsl.ops.code import Code

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal[
    "softmax_attention", "linear_attention", "linear", "convolution", "memory", "norm", "glue"
]
"""What an operator is to a reader: decides its colour in diagrams."""

BATCH = Poly.symbol("B")
"""The one symbol that is left after elaboration."""


class OpProblem(Exception):
    """An operator does not fit its arguments.

    The elaborator turns it into a diagnostic with spans and origins.

    Args:
        code: Catalogue code (`E0324`).
        axes: Which axes of which arguments disagree: pairs (argument index, axis index); their
            origins are printed.
        help: What would make it fit.
        slots: Fill the catalogue's message template.
    """

    def __init__(
        self, code: str, *, axes: tuple[tuple[int, int], ...] = (), help: str = "", **slots: object
    ) -> None:
        super().__init__(code, slots)
        self.code = code
        self.axes = axes
        self.help = help
        self.slots = slots


Types = tuple[TensorType, ...]
Codes = tuple[Code, ...]
Tensors = tuple["Tensor", ...]
WeightTensors = Mapping[str, "Tensor"]


@dataclass(frozen=True, slots=True)
class Saved:
    """What one operator keeps for backward, beside its weights.

    Args:
        arguments: Indices of the arguments that it keeps.
        results: Indices of the results that it keeps.
        elements: Further float32 numbers, such as row sums. A mask of booleans takes one byte each,
            so it counts a quarter of its elements.
    """

    arguments: tuple[int, ...] = ()
    results: tuple[int, ...] = ()
    elements: Size = 0


Draw = Literal["normal", "positive", "mask"]
"""How to draw an argument for a test: N(0, 1), uniform in [0.5, 1.5], or zeros and ones."""


@dataclass(frozen=True, slots=True)
class Example:
    """One valid application, for the generic test, the documentation and the model generator.

    Args:
        attributes: The static arguments.
        shapes: Of the tensor arguments, with the batch as the symbol `B` where one is meant.
        note: What it shows.
        draws: How to draw the arguments; those not listed are normal.
    """

    attributes: Attributes
    shapes: tuple[tuple[Size, ...], ...]
    note: str = field(default="", compare=False)
    draws: tuple[Draw, ...] = ()


class Op:
    """A primitive operator. Never instantiated; its methods are static.

    Class attributes:
        name: The word in the language.
        family: See `Family`.
        Attributes: Its static arguments.
        arity: Number of tensor arguments, None when it varies (`concat`); then `rule` checks it.
        keywords: Names of optional tensor arguments given by name (`keep`), which follow the
            positional ones in `arguments`.
        hyper: Names of attributes that change no shape and no weight (drop rates): the code
            generator may turn them into constructor arguments.
        view: Whether the result shares the storage of argument 0.
        random: Whether it draws random numbers in training.
        takes_empty: Whether it accepts an axis of size 0, which only `split` makes.
        needs_batch: Whether `call` takes one more argument, by keyword: `batch`, the code of the
            batch size (`img.shape[0]`); and `reference` its number. Only `expand` does.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    Attributes: ClassVar[type[Attributes]]
    arity: ClassVar[int | None] = 1
    keywords: ClassVar[tuple[str, ...]] = ()
    hyper: ClassVar[tuple[str, ...]] = ()
    view: ClassVar[bool] = False
    random: ClassVar[bool] = False
    takes_empty: ClassVar[bool] = False
    needs_batch: ClassVar[bool] = False

    required: ClassVar[tuple[str, ...]] = (
        "name",
        "family",
        "Attributes",
        "rule",
        "macs",
        "saved",
        "call",
        "reference",
        "examples",
    )

    def __init_subclass__(cls, abstract: bool = False) -> None:
        super().__init_subclass__()
        if abstract:
            return
        missing = [word for word in Op.required if getattr(cls, word, None) is _default(word)]
        if not cls.__doc__:
            missing.append("a docstring")
        if missing:
            raise TypeError(f"operator {cls.__name__} is incomplete: missing {', '.join(missing)}")

    @classmethod
    def types(cls, attributes: Any, arguments: Types) -> Types:
        """The types of the results: what holds for every operator is checked, then its `rule`.

        Raises:
            OpProblem: The arguments do not fit.
        """
        most = len(arguments) if cls.arity is None else cls.arity + len(cls.keywords)
        if not (cls.arity or 0) <= len(arguments) <= most:
            raise OpProblem("E0317", name=cls.name, expected=cls.arity, given=len(arguments))
        for index, x in enumerate(arguments):
            if 0 in x.sizes and not cls.takes_empty:
                axis = x.sizes.index(0)
                help = "join it with `concat` first, where an axis of 0 vanishes"
                axes = ((index, axis),)
                raise OpProblem("E0337", axes=axes, help=help, op=cls.name, axis=axis, given=x)
        return cls.rule(attributes, arguments)

    @staticmethod
    def rule(attributes: Any, arguments: Types) -> Types:
        """The shape rule; called through `types`.

        Raises:
            OpProblem: The arguments do not fit.
        """
        raise NotImplementedError

    @staticmethod
    def weights(attributes: Any, arguments: Types) -> tuple[Weight, ...]:
        """The tensors it owns, named as in torch's state dict (`weight`, `bias`)."""
        return ()

    @staticmethod
    def macs(attributes: Any, arguments: Types, results: Types) -> Size:
        """Multiply-adds of one application; only products of matrices and convolutions count."""
        raise NotImplementedError

    @classmethod
    def products(cls, attributes: Any, arguments: Types, results: Types) -> Size:
        """Multiply-adds as torch counts them: with the weighted sums that `macs` leaves out."""
        return cls.macs(attributes, arguments, results)

    @staticmethod
    def saved(attributes: Any, arguments: Types) -> Saved:
        """What autograd keeps for backward."""
        raise NotImplementedError

    @staticmethod
    def identity(attributes: Any, arguments: Types) -> bool:
        """Whether the result always equals argument 0 (a drop rate of 0, a slice of everything).

        Code and diagrams may leave such an application out.
        """
        return False

    @staticmethod
    def module(attributes: Any, arguments: Types) -> Code | None:
        """Constructor of the submodule that it needs (weights, or training-only state), else None.

        The text may use `nn`, `torch` and `layers` and `init` of `linvit_runtime`.
        """
        return None

    @staticmethod
    def call(attributes: Any, types: Types, arguments: Codes, module: Code | None) -> Code:
        """The PyTorch expression; `module` is the submodule's `self.name` if there is one.

        `types` are those of the arguments. The text may use `torch`, `F`, `layers` and `kernels`,
        and holds for every batch size. Several results are a tuple.
        """
        raise NotImplementedError

    @staticmethod
    def reference(attributes: Any, arguments: Tensors, weights: WeightTensors) -> Tensor | Tensors:
        """The same in plain torch, in the precision of its arguments, in evaluation mode."""
        raise NotImplementedError

    @staticmethod
    def examples() -> Iterator[Example]:
        """Valid applications that reach every branch of the rules."""
        raise NotImplementedError


def _default(word: str) -> object:
    return getattr(Op, word, None)
