"""Vector registers as values of Numba: tiles, and the few operations on them.

Numba has no vector type, and LLVM's vectoriser does not keep a block of accumulators in registers
across a loop over tokens, which is where a small matrix product gets its speed. So a `Tile` is a
block of float32 vectors that lives in registers (LLVM splits the aggregate), and every function of
this module is one or a few machine instructions per vector; those of `products.py` and
`arithmetic.py` are too, but for `exp`. Kernels built from them read as ordinary loops.

A tile has `rows` rows of `panel` vectors of `lanes` float32 each. The three numbers must be
constants of the compiled function. Offsets and strides count elements. Pointers are to float32; to
uint16, whose bits are bfloat16; or to int16, whose bits are float16: loads widen, stores round to
nearest even.
"""

# Numba and llvmlite are untyped, and an intrinsic's arguments are types, not values.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from linvit_runtime.kernels.cpu.vectors import (
    FLOAT,
    INT16,
    INT32,
    INT64,
    first_lanes,
    load_vector,
    shifted,
    splat,
    store_vector,
    zero_like,
)

float32_pointer = types.CPointer(types.float32)
bfloat16_pointer = types.CPointer(types.uint16)
float16_pointer = types.CPointer(types.int16)
int32_pointer = types.CPointer(types.int32)
int64_pointer = types.CPointer(types.int64)


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make `function` callable from kernels; what is a constant there is a constant in it.

    Numba compiles it once for each combination of constants and shares it between kernels, which
    `njit(inline="always")` does not.
    """

    @functools.wraps(function)
    def choose(*_types: object) -> Callable[..., Any]:
        return function

    overload(function, prefer_literal=True)(choose)
    return function


class Tile(types.Type):
    """The Numba type of `rows x panel` vectors of `lanes` float32."""

    def __init__(self, rows: int, panel: int, lanes: int) -> None:
        self.rows, self.panel, self.lanes = rows, panel, lanes
        super().__init__(name=f"Tile({rows} x {panel} x {lanes})")

    @property
    def vector(self) -> ir.VectorType:
        """One of its vectors."""
        return ir.VectorType(FLOAT, self.lanes)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Tile) -> None:
        storage = ir.ArrayType(fe_type.vector, fe_type.rows * fe_type.panel)
        super().__init__(dmm, fe_type, storage)


def pack(builder: Any, tile: Tile, vectors: Sequence[Any]) -> Any:
    """The tile of these vectors, row by row."""
    packed = ir.Constant(ir.ArrayType(tile.vector, len(vectors)), ir.Undefined)
    for index, vector in enumerate(vectors):
        packed = builder.insert_value(packed, vector, index)
    return packed


def unpack(builder: Any, tile: Tile, packed: Any) -> list[Any]:
    """The vectors of a tile, row by row."""
    return [builder.extract_value(packed, index) for index in range(tile.rows * tile.panel)]


def row_start(builder: Any, base: Any, stride: Any, row: int) -> Any:
    """Where a row of a tile starts in memory."""
    return builder.add(base, builder.mul(stride, INT64(row))) if row else base


def vector_starts(builder: Any, tile: Tile, start: Any) -> list[Any]:
    """Where the vectors of a row start that starts there itself."""
    return [shifted(builder, start, column * tile.lanes) for column in range(tile.panel)]


# A literal argument arrives as its type, which knows the number: so sizes become constants.
tile_intrinsic: Callable[..., Any] = intrinsic(prefer_literal=True)


FLOAT32, BFLOAT16, FLOAT16 = range(3)
"""Element types as constants of a kernel."""

READ, WRITE = range(2)
"""What a cache line is fetched for, in the numbers of llvm.prefetch."""


@tile_intrinsic
def pointer_to(_typing, address, dtype):
    """The elements of the constant `dtype` at an int64 address."""
    pointer = (float32_pointer, bfloat16_pointer, float16_pointer)[dtype.literal_value]

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return pointer(types.int64, dtype), generate


@tile_intrinsic
def as_float32(_typing, numbers):
    """The same memory, read as float32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return float32_pointer(numbers), generate


@tile_intrinsic
def as_int32(_typing, numbers):
    """The same memory, read as int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return int32_pointer(numbers), generate


@tile_intrinsic
def take_ticket(_typing, counters, index):
    """Add one to the int64 at `counters[index]` and return what it held: each number once."""

    def generate(_context, builder, _signature, arguments):
        counter = builder.gep(arguments[0], [arguments[1]], source_etype=INT64)
        return builder.atomic_rmw("add", counter, INT64(1), "monotonic")

    return types.int64(counters, types.int64), generate


@tile_intrinsic
def zeros(_typing, rows, panel, lanes):
    """A tile of zeros."""
    tile = Tile(rows.literal_value, panel.literal_value, lanes.literal_value)

    def generate(_context, builder, _signature, _arguments):
        zero = ir.Constant(tile.vector, [0.0] * tile.lanes)
        return pack(builder, tile, [zero] * (tile.rows * tile.panel))

    return tile(rows, panel, lanes), generate


@tile_intrinsic
def spread(_typing, value, lanes):
    """A vector that holds the float32 `value` in every lane, as a tile of one row."""
    tile = Tile(1, 1, lanes.literal_value)

    def generate(_context, builder, _signature, arguments):
        return pack(builder, tile, [splat(builder, arguments[0], tile.lanes)])

    return tile(types.float32, lanes), generate


@tile_intrinsic
def load(_typing, rows, panel, lanes, source, offset, stride):
    """Row r is read from `source[offset + r * stride]` on."""
    tile = Tile(rows.literal_value, panel.literal_value, lanes.literal_value)

    def generate(_context, builder, signature, arguments):
        *_, start, base, step = arguments
        element = signature.args[3].dtype
        vectors = [
            load_vector(builder, tile.vector, start, place, element)
            for row in range(tile.rows)
            for place in vector_starts(builder, tile, row_start(builder, base, step, row))
        ]
        return pack(builder, tile, vectors)

    return tile(rows, panel, lanes, source, types.int64, types.int64), generate


@tile_intrinsic
def store(_typing, tile, target, offset, stride):
    """Row r is written to `target[offset + r * stride]` on."""

    def generate(context, builder, signature, arguments):
        type_, element = signature.args[0], signature.args[1].dtype
        packed, start, base, step = arguments
        vectors = iter(unpack(builder, type_, packed))
        for row in range(type_.rows):
            for place in vector_starts(builder, type_, row_start(builder, base, step, row)):
                store_vector(builder, next(vectors), start, place, element)
        return context.get_dummy_value()

    return types.void(tile, target, types.int64, types.int64), generate


@tile_intrinsic
def load_part(_typing, lanes, source, offset, count):
    """The first `count` numbers of a vector, and zeros."""
    tile = Tile(1, 1, lanes.literal_value)

    def generate(_context, builder, signature, arguments):
        _, start, place, number = arguments
        mask = first_lanes(builder, tile.lanes, number)
        element = signature.args[1].dtype
        return pack(builder, tile, [load_vector(builder, tile.vector, start, place, element, mask)])

    return tile(lanes, source, types.int64, types.int64), generate


@tile_intrinsic
def first_of(_typing, tile, count, rest):
    """The first `count` numbers of a vector, and the float32 `rest` in the other lanes."""

    def generate(_context, builder, signature, arguments):
        packed, number, other = arguments
        type_ = signature.args[0]
        (vector,) = unpack(builder, type_, packed)
        mask = first_lanes(builder, type_.lanes, number)
        return pack(
            builder,
            type_,
            [builder.select(mask, vector, splat(builder, other, type_.lanes))],
        )

    return tile(tile, types.int64, types.float32), generate


@tile_intrinsic
def store_part(_typing, tile, target, offset, count):
    """Writes the first `count` numbers of a vector."""

    def generate(context, builder, signature, arguments):
        type_, element = signature.args[0], signature.args[1].dtype
        packed, start, place, number = arguments
        (vector,) = unpack(builder, type_, packed)
        store_vector(
            builder, vector, start, place, element, first_lanes(builder, type_.lanes, number)
        )
        return context.get_dummy_value()

    return types.void(tile, target, types.int64, types.int64), generate


@tile_intrinsic
def lanes_beyond_zero(_typing, tile, sign):
    """Bit i is set where the constant `sign` times lane i is above zero, and where it is NaN."""
    above = ">" if sign.literal_value > 0 else "<"

    def generate(_context, builder, signature, arguments):
        (x,) = unpack(builder, signature.args[0], arguments[0])
        mask = builder.fcmp_unordered(above, x, zero_like(x))
        return builder.zext(builder.bitcast(mask, ir.IntType(x.type.count)), INT64)

    return types.int64(tile, sign), generate


@tile_intrinsic
def lowest(_typing, bits):
    """The place of the lowest set bit of an int64 that is not 0."""

    def generate(_context, builder, _signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@tile_intrinsic
def transposed(_typing, tile):
    """A square tile of one panel, its rows turned into columns."""

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        rows = unpack(builder, type_, arguments[0])
        count, half = type_.lanes, type_.lanes // 2
        # Riffling rows i and i + half, log2(lanes) times: row r ends up as column r.
        low = [lane // 2 + count * (lane % 2) for lane in range(count)]
        halves = [
            ir.Constant(ir.VectorType(INT32, count), [lane + shift for lane in low])
            for shift in (0, half)
        ]
        for _ in range(count.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[row // 2], rows[row // 2 + half], halves[row % 2])
                for row in range(count)
            ]
        return pack(builder, type_, rows)

    return tile(tile), generate


@tile_intrinsic
def prefetch(_typing, source, offset, use):
    """Have the cache line of `source[offset]` fetched for the constant `use`; any address will do.

    `READ` is for data that are read once. `WRITE` takes the line from the
    other cores as well, where the processor has an instruction for it.
    """
    locality = 0 if use.literal_value == READ else 3  # of llvm.prefetch: 0 is none, 3 is most

    def generate(context, builder, signature, arguments):
        element = FLOAT if signature.args[0].dtype == types.float32 else INT16
        byte = ir.IntType(8).as_pointer()
        address = builder.bitcast(
            builder.gep(arguments[0], [arguments[1]], source_etype=element), byte
        )
        kind = ir.FunctionType(ir.VoidType(), [byte, INT32, INT32, INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        data_cache = INT32(1)
        purpose = INT32(use.literal_value), INT32(locality)
        builder.call(function, [address, *purpose, data_cache])
        return context.get_dummy_value()

    return types.void(source, types.int64, use), generate


@part
def load_row(source, offset, i, size, rest, LANES):
    """The vector from number i on of a row of `size` numbers; past its end stands `rest`."""
    if i + LANES <= size:
        return load(1, 1, LANES, source, offset + i, 0)
    return first_of(load_part(LANES, source, offset + i, size - i), size - i, rest)


@part
def store_row(tile, target, offset, i, size, LANES):
    """Writes what lies within a row of `size` numbers of the vector from its number i on."""
    if i + LANES <= size:
        store(tile, target, offset + i, 0)
    else:
        store_part(tile, target, offset + i, size - i)
