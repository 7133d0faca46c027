"""Vector registers as values of Numba: tiles, and the few operations on them.

Numba has no vector type, and LLVM's vectoriser does not keep a block of accumulators in registers
across a loop over tokens, which is where a small matrix product gets its speed. So a `Tile` is a
block of float32 vectors that lives in registers (LLVM splits the aggregate), and every function of
this module but `exp` is one or a few machine instructions per vector. Kernels built from them read
as ordinary loops.

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
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

_FLOAT = ir.FloatType()
_HALF = ir.HalfType()
_INT16 = ir.IntType(16)
_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)

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
        return ir.VectorType(_FLOAT, self.lanes)


@register_model(Tile)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Tile) -> None:
        storage = ir.ArrayType(fe_type.vector, fe_type.rows * fe_type.panel)
        super().__init__(dmm, fe_type, storage)


# A literal argument arrives as its type, which knows the number: so sizes become constants.
_intrinsic: Callable[..., Any] = intrinsic(prefer_literal=True)


FLOAT32, BFLOAT16, FLOAT16 = range(3)
"""Element types as constants of a kernel."""


@_intrinsic
def pointer_to(_typing, address, dtype):
    """The elements of the constant `dtype` at an int64 address."""
    pointer = (float32_pointer, bfloat16_pointer, float16_pointer)[dtype.literal_value]

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return pointer(types.int64, dtype), generate


@_intrinsic
def as_float32(_typing, numbers):
    """The same memory, read as float32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return float32_pointer(numbers), generate


@_intrinsic
def as_int32(_typing, numbers):
    """The same memory, read as int32."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], context.get_value_type(signature.return_type))

    return int32_pointer(numbers), generate


@_intrinsic
def take_ticket(_typing, counters, index):
    """Add one to the int64 at `counters[index]` and return what it held: each number once."""

    def generate(_context, builder, _signature, arguments):
        counter = builder.gep(arguments[0], [arguments[1]], source_etype=_INT64)
        return builder.atomic_rmw("add", counter, _INT64(1), "monotonic")

    return types.int64(counters, types.int64), generate


@_intrinsic
def zeros(_typing, rows, panel, lanes):
    """A tile of zeros."""
    tile = Tile(rows.literal_value, panel.literal_value, lanes.literal_value)

    def generate(_context, builder, _signature, _arguments):
        zero = ir.Constant(tile.vector, [0.0] * tile.lanes)
        return _pack(builder, tile, [zero] * (tile.rows * tile.panel))

    return tile(rows, panel, lanes), generate


@_intrinsic
def spread(_typing, value, lanes):
    """A vector that holds the float32 `value` in every lane, as a tile of one row."""
    tile = Tile(1, 1, lanes.literal_value)

    def generate(_context, builder, _signature, arguments):
        return _pack(builder, tile, [_splat(builder, arguments[0], tile.lanes)])

    return tile(types.float32, lanes), generate


@_intrinsic
def load(_typing, rows, panel, lanes, source, offset, stride):
    """Row r is read from `source[offset + r * stride]` on."""
    tile = Tile(rows.literal_value, panel.literal_value, lanes.literal_value)

    def generate(_context, builder, signature, arguments):
        *_, start, base, step = arguments
        element = signature.args[3].dtype
        vectors = [
            _load(builder, tile.vector, start, place, element)
            for row in range(tile.rows)
            for place in _places(builder, tile, _row(builder, base, step, row))
        ]
        return _pack(builder, tile, vectors)

    return tile(rows, panel, lanes, source, types.int64, types.int64), generate


@_intrinsic
def store(_typing, tile, target, offset, stride):
    """Row r is written to `target[offset + r * stride]` on."""

    def generate(context, builder, signature, arguments):
        type_, element = signature.args[0], signature.args[1].dtype
        packed, start, base, step = arguments
        vectors = iter(_unpack(builder, type_, packed))
        for row in range(type_.rows):
            for place in _places(builder, type_, _row(builder, base, step, row)):
                _store(builder, next(vectors), start, place, element)
        return context.get_dummy_value()

    return types.void(tile, target, types.int64, types.int64), generate


@_intrinsic
def load_part(_typing, lanes, source, offset, count):
    """The first `count` numbers of a vector, and zeros."""
    tile = Tile(1, 1, lanes.literal_value)

    def generate(_context, builder, signature, arguments):
        _, start, place, number = arguments
        mask = _first(builder, tile.lanes, number)
        element = signature.args[1].dtype
        return _pack(builder, tile, [_load(builder, tile.vector, start, place, element, mask)])

    return tile(lanes, source, types.int64, types.int64), generate


@_intrinsic
def first_of(_typing, tile, count, rest):
    """The first `count` numbers of a vector, and the float32 `rest` in the other lanes."""

    def generate(_context, builder, signature, arguments):
        packed, number, other = arguments
        type_ = signature.args[0]
        (vector,) = _unpack(builder, type_, packed)
        mask = _first(builder, type_.lanes, number)
        return _pack(
            builder,
            type_,
            [builder.select(mask, vector, _splat(builder, other, type_.lanes))],
        )

    return tile(tile, types.int64, types.float32), generate


@_intrinsic
def store_part(_typing, tile, target, offset, count):
    """Writes the first `count` numbers of a vector."""

    def generate(context, builder, signature, arguments):
        type_, element = signature.args[0], signature.args[1].dtype
        packed, start, place, number = arguments
        (vector,) = _unpack(builder, type_, packed)
        _store(builder, vector, start, place, element, _first(builder, type_.lanes, number))
        return context.get_dummy_value()

    return types.void(tile, target, types.int64, types.int64), generate


@_intrinsic
def outer(_typing, tile, factors, offset, stride, row):
    """tile[r] += factors[offset + r * stride] * row, one fused multiply-add per vector."""

    def generate(_context, builder, signature, arguments):
        type_, row_type = signature.args[0], signature.args[4]
        packed, start, base, step, packed_row = arguments
        sums = iter(_unpack(builder, type_, packed))
        vectors = _unpack(builder, row_type, packed_row)
        out = []
        for r in range(type_.rows):
            factor = _scalar(builder, start, _row(builder, base, step, r))
            spread = _splat(builder, factor, type_.lanes)
            out += [_fma(builder, spread, vector, next(sums)) for vector in vectors]
        return _pack(builder, type_, out)

    signature = tile(tile, factors, types.int64, types.int64, row)
    return signature, generate


@_intrinsic
def store_lines(_typing, tile, target, offset, first, stride, further):
    """Into int32 lane i where row first + i of a table starts, `further` on where x < 0."""

    def generate(context, builder, signature, arguments):
        type_ = signature.args[0]
        packed, start, place, base, step, far = arguments
        (x,) = _unpack(builder, type_, packed)
        integers = ir.VectorType(_INT32, type_.lanes)
        rows = ir.Constant(integers, list(range(type_.lanes)))
        base, step, far = (
            _splat(builder, builder.trunc(number, _INT32), type_.lanes)
            for number in (base, step, far)
        )
        lines = builder.mul(builder.add(rows, base), step)
        negative = builder.fcmp_ordered("<", x, _zero_like(x))
        lines = builder.select(negative, builder.add(lines, far), lines)
        _write(builder, lines, start, place, None)
        return context.get_dummy_value()

    int64 = types.int64
    return types.void(tile, target, int64, int64, int64, int64), generate


@_intrinsic
def gather(_typing, tile, factors, offset, table, place, lines, line):
    """tile[u] += factors[offset + u] * row, the row of `table` at place + lines[line + u].

    The rows of the result are partial sums.
    """

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        packed, start, base, rows, first, starts, index = arguments
        sums = iter(_unpack(builder, type_, packed))
        out = []
        for u in range(type_.rows):
            factor = _splat(
                builder, _scalar(builder, start, _shifted(builder, base, u)), type_.lanes
            )
            at = builder.gep(starts, [_shifted(builder, index, u)], source_etype=_INT32)
            row = builder.add(first, builder.zext(builder.load(at, typ=_INT32), _INT64))
            for where in _places(builder, type_, row):
                vector = _load(builder, type_.vector, rows, where, types.float32)
                out.append(_fma(builder, factor, vector, next(sums)))
        return _pack(builder, type_, out)

    int64 = types.int64
    return tile(tile, factors, int64, table, int64, lines, int64), generate


@_intrinsic
def lanes_beyond_zero(_typing, tile, sign):
    """Bit i is set where the constant `sign` times lane i is above zero, and where it is NaN."""
    above = ">" if sign.literal_value > 0 else "<"

    def generate(_context, builder, signature, arguments):
        (x,) = _unpack(builder, signature.args[0], arguments[0])
        mask = builder.fcmp_unordered(above, x, _zero_like(x))
        return builder.zext(builder.bitcast(mask, ir.IntType(x.type.count)), _INT64)

    return types.int64(tile, sign), generate


@_intrinsic
def lowest(_typing, bits):
    """The place of the lowest set bit of an int64 that is not 0."""

    def generate(_context, builder, _signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@_intrinsic
def transposed(_typing, tile):
    """A square tile of one panel, its rows turned into columns."""

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        rows = _unpack(builder, type_, arguments[0])
        count, half = type_.lanes, type_.lanes // 2
        # Riffling rows i and i + half, log2(lanes) times: row r ends up as column r.
        low = [lane // 2 + count * (lane % 2) for lane in range(count)]
        halves = [
            ir.Constant(ir.VectorType(_INT32, count), [lane + shift for lane in low])
            for shift in (0, half)
        ]
        for _ in range(count.bit_length() - 1):
            rows = [
                builder.shuffle_vector(rows[row // 2], rows[row // 2 + half], halves[row % 2])
                for row in range(count)
            ]
        return _pack(builder, type_, rows)

    return tile(tile), generate


@_intrinsic
def prefetch(_typing, source, offset):
    """Have the cache line of `source[offset]` fetched, to be read once. Any address will do."""

    def generate(context, builder, signature, arguments):
        element = _FLOAT if signature.args[0].dtype == types.float32 else _INT16
        byte = ir.IntType(8).as_pointer()
        address = builder.bitcast(
            builder.gep(arguments[0], [arguments[1]], source_etype=element), byte
        )
        kind = ir.FunctionType(ir.VoidType(), [byte, _INT32, _INT32, _INT32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # For reading, without use for later, data.
        builder.call(function, [address, _INT32(0), _INT32(0), _INT32(1)])
        return context.get_dummy_value()

    return types.void(source, types.int64), generate


@_intrinsic
def fold(_typing, tile):
    """The sum of the rows, as a tile of one row."""
    one = Tile(1, tile.panel, tile.lanes)

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        vectors = _unpack(builder, type_, arguments[0])
        sums = vectors[: type_.panel]
        for row in range(1, type_.rows):
            more = vectors[row * type_.panel : (row + 1) * type_.panel]
            sums = [builder.fadd(a, b) for a, b in zip(sums, more, strict=True)]
        return _pack(builder, one, sums)

    return one(tile), generate


@_intrinsic
def scale(_typing, tile, factor):
    """Every number times `factor`."""

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        spread = _splat(builder, arguments[1], type_.lanes)
        vectors = _unpack(builder, type_, arguments[0])
        return _pack(builder, type_, [builder.fmul(vector, spread) for vector in vectors])

    return tile(tile, types.float32), generate


@_intrinsic
def total(_typing, tile):
    """The sum of all numbers, as a float32."""
    return types.float32(tile), partial(_reduced, "fadd")


@_intrinsic
def largest(_typing, tile):
    """The largest number, as a float32."""
    return types.float32(tile), partial(_reduced, "fmax")


def _reduced(how: str, _context, builder, signature, arguments):
    type_ = signature.args[0]
    first, *others = _unpack(builder, type_, arguments[0])
    for vector in others:
        if how == "fadd":
            first = builder.fadd(first, vector)
        else:
            first = builder.select(builder.fcmp_ordered(">", first, vector), first, vector)
    name = f"llvm.vector.reduce.{how}.v{type_.lanes}f32"
    start = [_FLOAT] if how == "fadd" else []
    kind = ir.FunctionType(_FLOAT, [*start, type_.vector])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    zero = [_FLOAT(0.0)] if how == "fadd" else []
    return builder.call(function, [*zero, first], fastmath=("reassoc",))


def _elementwise(formula: Callable[..., Any], doc: str) -> Any:
    """An intrinsic on tiles of one shape, vector by vector."""

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        columns = [_unpack(builder, type_, argument) for argument in arguments]
        return _pack(builder, type_, [formula(builder, *v) for v in zip(*columns, strict=True)])

    # Numba reads the number of arguments off the signature.
    def one(_typing, x):
        return x(x), generate

    def two(_typing, x, y):
        return x(x, y), generate

    def three(_typing, x, y, z):
        return x(x, y, z), generate

    typed = (one, two, three)[formula.__code__.co_argcount - 2]
    typed.__doc__ = doc
    return _intrinsic(typed)


def _zero_like(vector: Any) -> ir.Constant:
    return ir.Constant(vector.type, [0.0] * vector.type.count)


def _relu(builder, x):
    # Unordered: a NaN compares as true and stays.
    zero = _zero_like(x)
    return builder.select(builder.fcmp_unordered(">", x, zero), x, zero)


def _smaller(builder, x, y):
    return builder.select(builder.fcmp_unordered("<", x, y), x, y)


def _larger(builder, x, y):
    return builder.select(builder.fcmp_unordered(">", x, y), x, y)


def _where_positive(builder, x, y, z):
    return builder.select(builder.fcmp_ordered(">", x, _zero_like(x)), y, z)


def _where_zero(builder, x, y, z):
    return builder.select(builder.fcmp_ordered("==", x, _zero_like(x)), y, z)


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

    integers = ir.VectorType(_INT32, x.type.count)
    tiny = builder.fcmp_ordered("<", x, constant(_SMALLEST))
    clamped = builder.select(tiny, constant(_SMALLEST), x)
    clamped = builder.select(
        builder.fcmp_ordered(">", clamped, constant(88.0)), constant(88.0), clamped
    )
    kind = ir.FunctionType(x.type, [x.type])
    name = f"llvm.nearbyint.v{x.type.count}f32"
    rounded = cgutils.get_or_insert_function(builder.module, kind, name)
    n = builder.call(rounded, [builder.fmul(clamped, constant(_LOG2_E))])
    r = _fma(builder, n, constant(-_LN2_HIGH), clamped)
    r = _fma(builder, n, constant(-_LN2_LOW), r)
    series = constant(1.0 / _FACTORIALS[0])
    for factorial in _FACTORIALS[1:]:
        series = _fma(builder, series, r, constant(1.0 / factorial))
    exponent = builder.fptosi(n, integers)
    bits = builder.add(exponent, ir.Constant(integers, [127] * x.type.count))
    bits = builder.shl(bits, ir.Constant(integers, [23] * x.type.count))
    power = builder.bitcast(bits, x.type)
    value = builder.select(tiny, _zero_like(x), builder.fmul(series, power))
    return builder.select(builder.fcmp_unordered("uno", x, x), x, value)


exp = _elementwise(_exp, "e to the power of x, within 2 units in the last place; 0 below -87")


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


def _pack(builder: Any, tile: Tile, vectors: Sequence[Any]) -> Any:
    packed = ir.Constant(ir.ArrayType(tile.vector, len(vectors)), ir.Undefined)
    for index, vector in enumerate(vectors):
        packed = builder.insert_value(packed, vector, index)
    return packed


def _unpack(builder: Any, tile: Tile, packed: Any) -> list[Any]:
    return [builder.extract_value(packed, index) for index in range(tile.rows * tile.panel)]


def _shifted(builder: Any, place: Any, by: int) -> Any:
    return builder.add(place, _INT64(by)) if by else place


def _row(builder: Any, base: Any, stride: Any, row: int) -> Any:
    return builder.add(base, builder.mul(stride, _INT64(row))) if row else base


def _places(builder: Any, tile: Tile, line: Any) -> list[Any]:
    return [_shifted(builder, line, column * tile.lanes) for column in range(tile.panel)]


def _scalar(builder: Any, start: Any, place: Any) -> Any:
    return builder.load(builder.gep(start, [place], source_etype=_FLOAT), typ=_FLOAT)


def _splat(builder: Any, x: Any, lanes: int) -> Any:
    vector = ir.VectorType(x.type, lanes)
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, x, _INT32(0))
    everywhere = ir.Constant(ir.VectorType(_INT32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, nothing, everywhere)


def _fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    kind = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fma.v{x.type.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [x, y, z])


def _first(builder: Any, lanes: int, count: Any) -> Any:
    """A mask of the first `count` lanes."""
    integers = ir.VectorType(_INT32, lanes)
    limits = _splat(builder, builder.trunc(count, _INT32), lanes)
    return builder.icmp_signed("<", ir.Constant(integers, list(range(lanes))), limits)


def _load(builder: Any, vector: Any, start: Any, place: Any, element: Any, mask: Any = None) -> Any:
    """A float32 vector from memory of any of the three kinds."""
    if element == types.float32:
        return _read(builder, vector, start, place, mask)
    if element == types.int16:
        halves = ir.VectorType(_HALF, vector.count)
        return builder.fpext(_read(builder, halves, start, place, mask), vector)
    # bfloat16 is the upper half of a float32.
    integers = ir.VectorType(_INT32, vector.count)
    shorts = ir.VectorType(_INT16, vector.count)
    wide = builder.zext(_read(builder, shorts, start, place, mask), integers)
    return builder.bitcast(builder.shl(wide, ir.Constant(integers, [16] * vector.count)), vector)


def _store(
    builder: Any, vector: Any, start: Any, place: Any, element: Any, mask: Any = None
) -> None:
    """A float32 vector to memory of any of the three kinds."""
    if element == types.float32:
        _write(builder, vector, start, place, mask)
        return
    count = vector.type.count
    if element == types.int16:
        halves = ir.VectorType(_HALF, count)
        _write(builder, builder.fptrunc(vector, halves), start, place, mask)
        return
    integers = ir.VectorType(_INT32, count)

    def constant(value: int) -> ir.Constant:
        return ir.Constant(integers, [value] * count)

    bits = builder.bitcast(vector, integers)
    odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
    rounded = builder.add(bits, builder.add(odd, constant(0x7FFF)))  # to nearest, ties to even
    # Rounding could carry a NaN's bits over into infinity.
    is_nan = builder.fcmp_unordered("uno", vector, vector)
    rounded = builder.select(is_nan, constant(0x7FC00000), rounded)
    shorts = builder.trunc(builder.lshr(rounded, constant(16)), ir.VectorType(_INT16, count))
    _write(builder, shorts, start, place, mask)


def _read(builder: Any, kind: Any, start: Any, place: Any, mask: Any) -> Any:
    address = builder.gep(start, [place], source_etype=kind.element)
    address = builder.bitcast(address, kind.as_pointer())
    align = _alignment(kind)
    if mask is None:
        return builder.load(address, typ=kind, align=align)
    zero = ir.Constant(kind, None)
    signature = ir.FunctionType(kind, [kind.as_pointer(), _INT32, mask.type, kind])
    name = f"llvm.masked.load.{_mangled(kind)}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, [address, _INT32(align), mask, zero])


def _write(builder: Any, value: Any, start: Any, place: Any, mask: Any) -> None:
    kind = value.type
    address = builder.gep(start, [place], source_etype=kind.element)
    address = builder.bitcast(address, kind.as_pointer())
    align = _alignment(kind)
    if mask is None:
        builder.store(value, address, align=align)
        return
    arguments = [kind, kind.as_pointer(), _INT32, mask.type]
    signature = ir.FunctionType(ir.VoidType(), arguments)
    name = f"llvm.masked.store.{_mangled(kind)}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    builder.call(function, [value, address, _INT32(align), mask])


def _alignment(kind: Any) -> int:
    return 4 if kind.element in (_FLOAT, _INT32) else 2


def _mangled(kind: Any) -> str:
    element = {_FLOAT: "f32", _HALF: "f16", _INT16: "i16"}[kind.element]
    return f"v{kind.count}{element}"
