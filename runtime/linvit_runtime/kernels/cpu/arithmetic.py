"""Arithmetic on tiles: sums and scaling, and functions of every number."""

# Numba and llvmlite are untyped, and an intrinsic's arguments are types, not values.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from linvit_runtime.kernels.cpu.tiles import Tile, pack, tile_intrinsic, unpack
from linvit_runtime.kernels.cpu.vectors import FLOAT, INT32, fma, splat, zero_like


@tile_intrinsic
def fold(_typing, tile):
    """The sum of the rows, as a tile of one row."""
    one = Tile(1, tile.panel, tile.lanes)

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        vectors = unpack(builder, type_, arguments[0])
        sums = vectors[: type_.panel]
        for row in range(1, type_.rows):
            more = vectors[row * type_.panel : (row + 1) * type_.panel]
            sums = [builder.fadd(a, b) for a, b in zip(sums, more, strict=True)]
        return pack(builder, one, sums)

    return one(tile), generate


@tile_intrinsic
def scale(_typing, tile, factor):
    """Every number times `factor`."""

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        spread = splat(builder, arguments[1], type_.lanes)
        vectors = unpack(builder, type_, arguments[0])
        return pack(builder, type_, [builder.fmul(vector, spread) for vector in vectors])

    return tile(tile, types.float32), generate


@tile_intrinsic
def total(_typing, tile):
    """The sum of all numbers, as a float32."""
    return types.float32(tile), partial(_reduced, "fadd")


@tile_intrinsic
def largest(_typing, tile):
    """The largest number, as a float32."""
    return types.float32(tile), partial(_reduced, "fmax")


def _reduced(how: str, _context, builder, signature, arguments):
    type_ = signature.args[0]
    first, *others = unpack(builder, type_, arguments[0])
    for vector in others:
        if how == "fadd":
            first = builder.fadd(first, vector)
        else:
            first = builder.select(builder.fcmp_ordered(">", first, vector), first, vector)
    name = f"llvm.vector.reduce.{how}.v{type_.lanes}f32"
    start = [FLOAT] if how == "fadd" else []
    kind = ir.FunctionType(FLOAT, [*start, type_.vector])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    zero = [FLOAT(0.0)] if how == "fadd" else []
    return builder.call(function, [*zero, first], fastmath=("reassoc",))


def _elementwise(formula: Callable[..., Any], doc: str) -> Any:
    """An intrinsic on tiles of one shape, vector by vector."""

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        columns = [unpack(builder, type_, argument) for argument in arguments]
        return pack(builder, type_, [formula(builder, *v) for v in zip(*columns, strict=True)])

    # Numba reads the number of arguments off the signature.
    def one(_typing, x):
        return x(x), generate

    def two(_typing, x, y):
        return x(x, y), generate

    def three(_typing, x, y, z):
        return x(x, y, z), generate

    typed = (one, two, three)[formula.__code__.co_argcount - 2]
    typed.__doc__ = doc
    return tile_intrinsic(typed)


def _relu(builder, x):
    # Unordered: a NaN compares as true and stays.
    zero = zero_like(x)
    return builder.select(builder.fcmp_unordered(">", x, zero), x, zero)


def _smaller(builder, x, y):
    return builder.select(builder.fcmp_unordered("<", x, y), x, y)


def _larger(builder, x, y):
    return builder.select(builder.fcmp_unordered(">", x, y), x, y)


def _where_positive(builder, x, y, z):
    return builder.select(builder.fcmp_ordered(">", x, zero_like(x)), y, z)


def _where_zero(builder, x, y, z):
    return builder.select(builder.fcmp_ordered("==", x, zero_like(x)), y, z)


add = _elementwise(lambda builder, x, y: builder.fadd(x, y), "x + y")
subtract = _elementwise(lambda builder, x, y: builder.fsub(x, y), "x - y")
multiply = _elementwise(lambda builder, x, y: builder.fmul(x, y), "x * y")
negate = _elementwise(lambda builder, x: builder.fneg(x), "-x")
relu = _elementwise(_relu, "max(x, 0), NaN where x is")
larger = _elementwise(_larger, "max(x, y), NaN where x is")
smaller = _elementwise(_smaller, "min(x, y), NaN where x is")
where_positive = _elementwise(_where_positive, "y where x > 0, else z")
where_zero = _elementwise(_where_zero, "y where x == 0, else z")


# exp(x) = 2^n exp(r) with |r| <= ln(2)/2; exp(r) by its Taylor series to degree 7, whose remainder
# there is 5e-9 of it, below half a unit in the last place (6e-8). ln(2) in two parts keeps r exact.
_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_FACTORIALS = (5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0)
_SMALLEST = -87.0  # below, the result is 0: exp(-87) = 1.6e-38 is near the smallest normal number


def _exp(builder, x):
    def constant(value: float) -> ir.Constant:
        return ir.Constant(x.type, [value] * x.type.count)

    integers = ir.VectorType(INT32, x.type.count)
    tiny = builder.fcmp_ordered("<", x, constant(_SMALLEST))
    clamped = builder.select(tiny, constant(_SMALLEST), x)
    clamped = builder.select(
        builder.fcmp_ordered(">", clamped, constant(88.0)), constant(88.0), clamped
    )
    kind = ir.FunctionType(x.type, [x.type])
    name = f"llvm.nearbyint.v{x.type.count}f32"
    rounded = cgutils.get_or_insert_function(builder.module, kind, name)
    n = builder.call(rounded, [builder.fmul(clamped, constant(_LOG2_E))])
    r = fma(builder, n, constant(-_LN2_HIGH), clamped)
    r = fma(builder, n, constant(-_LN2_LOW), r)
    series = constant(1.0 / _FACTORIALS[0])
    for factorial in _FACTORIALS[1:]:
        series = fma(builder, series, r, constant(1.0 / factorial))
    exponent = builder.fptosi(n, integers)
    bits = builder.add(exponent, ir.Constant(integers, [127] * x.type.count))
    bits = builder.shl(bits, ir.Constant(integers, [23] * x.type.count))
    power = builder.bitcast(bits, x.type)
    value = builder.select(tiny, zero_like(x), builder.fmul(series, power))
    return builder.select(builder.fcmp_unordered("uno", x, x), x, value)


exp = _elementwise(_exp, "e to the power of x, within 2 units in the last place; 0 below -87")
