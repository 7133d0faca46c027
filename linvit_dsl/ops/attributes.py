"""Static arguments of operators: their kinds, their ranges, and what to say when they are wrong."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from linvit_dsl.graph.ir import Initializer
from linvit_dsl.graph.size import Poly, Size

if TYPE_CHECKING:
    from linvit_dsl.ops.op import Op


def _as_float(value: object) -> object:
    """Exact numbers as floats; everything else is left for the type check to refuse."""
    if isinstance(value, int | Fraction) and not isinstance(value, bool):
        return float(value)
    return value


Dimension = Annotated[int, Field(ge=1, le=2**20, strict=True)]
"""The size of an axis, as a static argument."""


def _as_odd(value: int) -> int:
    if value % 2 == 0:
        raise PydanticCustomError("odd", "not odd")
    return value


Odd = Annotated[Dimension, AfterValidator(_as_odd)]
"""The size of a window that has a centre."""
Count = Annotated[int, Field(ge=0, le=2**20, strict=True)]
"""A whole number that may be 0."""
Axis = Annotated[int, Field(ge=-8, le=7, strict=True)]
"""An axis number; negative ones count from the last."""
Index = Annotated[int, Field(ge=-(2**20), lt=2**20, strict=True)]
"""The place of an entry; negative ones count from the last."""
Sizes = Annotated[tuple[Dimension, ...], Field(min_length=1, max_length=8)]
"""A shape."""
Parts = Annotated[tuple[Count, ...], Field(min_length=1, max_length=2**12)]
"""The sizes of the parts of an axis."""
Real = Annotated[float, BeforeValidator(_as_float), Field(strict=True, allow_inf_nan=False)]
"""A real number."""
Positive = Annotated[Real, Field(gt=0)]
"""A real number above 0."""
Probability = Annotated[Real, Field(ge=0, lt=1)]
"""A real number in [0, 1)."""


def _as_pair(value: object) -> object:
    """A single number counts for rows and columns."""
    if isinstance(value, tuple) and len(value) == 2:
        return value
    if isinstance(value, int):
        return value, value
    raise PydanticCustomError("pair", "not a pair")


Pair = Annotated[tuple[Dimension, Dimension], BeforeValidator(_as_pair)]
"""One number for rows and columns, or one for each."""
CountPair = Annotated[tuple[Count, Count], BeforeValidator(_as_pair)]
"""The same, 0 allowed."""
Flag = StrictBool
"""true or false."""
Pattern = Annotated[str, Field(strict=True, max_length=200)]
"""Names of axes before and after: `b n (h c) -> b h n c`."""


def _named_size(value: Any) -> tuple[str, Size]:
    name, size = value
    is_whole = isinstance(size, int) and not isinstance(size, bool)
    if isinstance(size, Poly) or (is_whole and 1 <= size <= 2**20):
        return name, size
    raise PydanticCustomError("axis_size", "not a size", {"name": name, "size": size})


Axes = tuple[Annotated[tuple[str, Size], PlainValidator(_named_size)], ...]
"""Sizes of axes of a pattern (`h = 8, b = B`), in the order of the text."""
Init = Initializer | None
"""How weights start; None keeps what torch's own module does."""


class Attributes(BaseModel):
    """Base of every operator's static arguments, in positional order.

    An operator whose keyword arguments name axes of a pattern (`h = 8`) declares a field `axes`;
    one with several optional tensors declares `given`, the names of those that it is applied to.
    Lists of the language arrive as tuples. What a user gave wrongly, `attribute_problem` words.
    """

    # Schemas are built on first use: a spec uses a third of the operators.
    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, defer_build=True
    )

    @classmethod
    def words(cls) -> tuple[str, ...]:
        """Names of the static arguments that a text gives: fields of this module's own are left."""
        return tuple(name for name in cls.model_fields if name not in ("axes", "given"))


def attribute_problem(
    op: type[Op], error: ValidationError, only: str | None = None
) -> tuple[str, str]:
    """The first bad static argument, and what is wrong with it: "`p` must be below 1, not 1.5".

    With `only`, the first that is wrong about this one argument.

    Raises:
        LookupError: Nothing is.
    """
    found = [e for e in error.errors(include_url=False) if only is None or e["loc"][0] == only]
    details = found[0]
    field, kind, context = str(details["loc"][0]), details["type"], details.get("ctx", {})
    if kind == "missing":
        return field, f"`{field}` has no value"
    if kind == "extra_forbidden":
        known = ", ".join(f"`{name}`" for name in op.Attributes.words()) or "none"
        return field, f"it has no static argument `{field}`, but {known}"
    if kind == "axis_size":
        name, size = str(context["name"]), _written(context["size"])
        return name, f"`{name}` must be a whole number from 1 to {2**20:,}, not {size}"
    given = _written(details["input"])
    demand = _DEMANDS.get(kind)
    if demand is None:
        return field, f"`{field}` cannot be {given}"
    wanted = demand.format(**context).replace("'", '"')
    return field, f"`{field}` must be {wanted}, not {given}"


_DEMANDS = {
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "below {lt:g}",
    "less_than_equal": "at most {le:,}",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "a text",
    "string_too_long": "a text of at most {max_length} characters",
    "literal_error": "{expected}",
    "pair": "a number, or a pair for rows and columns",
    "odd": "an odd number, so that it has a centre",
    "tuple_type": "a list",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "dataclass_type": "an initialisation such as `normal[0.02]`",
}
"""What pydantic calls a broken demand -> the demand."""


def _written(value: object) -> str:
    """A value as the language writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, Initializer):
        arguments = f"[{', '.join(f'{a:g}' for a in value.arguments)}]" if value.arguments else ""
        return f"`{value.name}{arguments}`"
    return str(value)
