"""The contract of a primitive operator: one class answers every question about it.

What is asked of each operator is the same short list (static arguments, result shapes, weights,
multiply-adds, what backward keeps, the PyTorch call, a float64 reference, examples), while the list
of operators grows. So an operator is one file with one class; completeness is enforced when the
class is created, and one generic test goes through all of them by their examples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from linvit_dsl.graph.ir import Initializer, TensorType, Weight
from linvit_dsl.graph.size import Size
from linvit_dsl.ops.code import Code

if TYPE_CHECKING:
    from torch import Tensor

Family = Literal[
    "softmax_attention", "linear_attention", "linear", "convolution", "memory", "norm", "glue"
]
"""What an operator is to a reader: decides its colour in diagrams."""


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
        self,
        code: str,
        *,
        axes: tuple[tuple[int, int], ...] = (),
        help: str = "",
        **slots: object,
    ) -> None:
        super().__init__(code, slots)
        self.code = code
        self.axes = axes
        self.help = help
        self.slots = slots


Dimension = Annotated[int, Field(ge=1, le=2**20, strict=True)]
"""The size of an axis, as a static argument."""
Count = Annotated[int, Field(ge=0, le=2**20, strict=True)]
"""A whole number that may be 0."""
Axis = Annotated[int, Field(ge=-8, le=7, strict=True)]
"""An axis number; negative ones count from the last."""
Real = Annotated[float, BeforeValidator(lambda v: float(v) if isinstance(v, int) else v)]
"""A real number."""
Probability = Annotated[Real, Field(ge=0, lt=1)]
"""A real number in [0, 1)."""
Init = Initializer | None
"""How weights start; None keeps what torch's own module does."""


class Attributes(BaseModel):
    """Base of every operator's static arguments, in positional order.

    An operator whose keyword arguments name axes of a pattern (`h = 8`) declares a field `axes`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class Saved:
    """What one operator keeps for backward.

    Args:
        arguments: Indices of the arguments that it keeps.
        results: Indices of the results that it keeps.
        elements: Further numbers, such as a mask or row sums.
    """

    arguments: tuple[int, ...] = ()
    results: tuple[int, ...] = ()
    elements: Size = 0


@dataclass(frozen=True, slots=True)
class Example:
    """One valid application, for the generic test, the documentation and the model generator."""

    attributes: Attributes
    shapes: tuple[tuple[int, ...], ...]
    note: str = field(default="", compare=False)


class Op:
    """A primitive operator. Never instantiated; all methods are static.

    Class attributes:
        name: The word in the language.
        family: See `Family`.
        Attributes: Its static arguments.
        arity: Number of tensor arguments, None when variadic (`concat`).
        keywords: Names of optional tensor arguments given by name (`keep`), which follow the
            positional ones in `arguments`.
        hyper: Names of attributes that change no shape and no weight (drop rates): the code
            generator may turn them into constructor arguments.
        view: Whether the result shares the storage of argument 0.
        random: Whether it draws random numbers in training.
    """

    name: ClassVar[str]
    family: ClassVar[Family]
    Attributes: ClassVar[type[Attributes]]
    arity: ClassVar[int | None] = 1
    keywords: ClassVar[tuple[str, ...]] = ()
    hyper: ClassVar[tuple[str, ...]] = ()
    view: ClassVar[bool] = False
    random: ClassVar[bool] = False

    required: ClassVar[tuple[str, ...]] = (
        "name",
        "family",
        "Attributes",
        "types",
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
        missing = [name for name in Op.required if getattr(cls, name, None) is getattr(Op, name, None)]
        if missing or not cls.__doc__:
            missing += [] if cls.__doc__ else ["a docstring"]
            raise TypeError(f"operator {cls.__name__} is incomplete: missing {', '.join(missing)}")

    @staticmethod
    def types(attributes: Any, arguments: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """The shape rule.

        Raises:
            OpProblem: The arguments do not fit.
        """
        raise NotImplementedError

    @staticmethod
    def weights(attributes: Any, arguments: tuple[TensorType, ...]) -> tuple[Weight, ...]:
        """The parameter tensors it owns, named as in torch's state dict (`weight`, `bias`)."""
        return ()

    @staticmethod
    def macs(
        attributes: Any, arguments: tuple[TensorType, ...], results: tuple[TensorType, ...]
    ) -> Size:
        """Multiply-adds of one application; only products of matrices and convolutions count."""
        raise NotImplementedError

    @staticmethod
    def saved(attributes: Any, arguments: tuple[TensorType, ...]) -> Saved:
        """What autograd keeps for backward."""
        raise NotImplementedError

    @staticmethod
    def module(attributes: Any, arguments: tuple[TensorType, ...]) -> Code | None:
        """Constructor of the submodule that it needs (weights, or training-only state), else None.

        The text may use `nn`, `torch` and `layers` and `init` of `linvit_runtime`.
        """
        return None

    @staticmethod
    def call(
        attributes: Any,
        types: tuple[TensorType, ...],
        arguments: tuple[Code, ...],
        module: Code | None,
    ) -> Code:
        """The PyTorch expression; `module` is the submodule's `self.name` if there is one.

        The text may use `torch`, `F`, `layers` and `kernels`. Several results are a tuple.
        """
        raise NotImplementedError

    @staticmethod
    def reference(
        attributes: Any, arguments: tuple[Tensor, ...], weights: Mapping[str, Tensor]
    ) -> Tensor | tuple[Tensor, ...]:
        """The same in plain torch, in the precision of its arguments, in evaluation mode."""
        raise NotImplementedError

    @staticmethod
    def examples() -> Iterator[Example]:
        """Valid applications that reach every branch of the rules."""
        raise NotImplementedError
