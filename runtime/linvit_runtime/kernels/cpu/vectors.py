"""Vectors of LLVM: the instructions that tiles are made of.

`builder` is llvmlite's, and values are its values. `start[place]` is memory, of elements of float32
or of the two half types, which `tiles.py` names; whole vectors of int32 can be written too.
"""

# Numba and llvmlite are untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingTypeStubs=false

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

FLOAT = ir.FloatType()
HALF = ir.HalfType()
INT16 = ir.IntType(16)
INT32 = ir.IntType(32)
INT64 = ir.IntType(64)


def zero_like(vector: Any) -> ir.Constant:
    """Zeros of the type of `vector`."""
    return ir.Constant(vector.type, [0.0] * vector.type.count)


def shifted(builder: Any, place: Any, by: int) -> Any:
    """The int64 `place + by`."""
    return builder.add(place, INT64(by)) if by else place


def load_scalar(builder: Any, start: Any, place: Any) -> Any:
    """The float32 at `start[place]`."""
    return builder.load(builder.gep(start, [place], source_etype=FLOAT), typ=FLOAT)


def splat(builder: Any, x: Any, lanes: int) -> Any:
    """`x` in every lane."""
    vector = ir.VectorType(x.type, lanes)
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, x, INT32(0))
    everywhere = ir.Constant(ir.VectorType(INT32, lanes), [0] * lanes)
    return builder.shuffle_vector(first, nothing, everywhere)


def fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    """X y + z, rounded once."""
    kind = ir.FunctionType(x.type, [x.type] * 3)
    name = f"llvm.fma.v{x.type.count}f32"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [x, y, z])


def first_lanes(builder: Any, lanes: int, count: Any) -> Any:
    """A mask of the first `count` lanes."""
    integers = ir.VectorType(INT32, lanes)
    limits = splat(builder, builder.trunc(count, INT32), lanes)
    return builder.icmp_signed("<", ir.Constant(integers, list(range(lanes))), limits)


def load_vector(
    builder: Any, vector: Any, start: Any, place: Any, element: Any, mask: Any = None
) -> Any:
    """A float32 vector from memory of any of the three kinds."""
    if element == types.float32:
        return _read(builder, vector, start, place, mask)
    if element == types.int16:
        halves = ir.VectorType(HALF, vector.count)
        return builder.fpext(_read(builder, halves, start, place, mask), vector)
    # bfloat16 is the upper half of a float32.
    integers = ir.VectorType(INT32, vector.count)
    shorts = ir.VectorType(INT16, vector.count)
    wide = builder.zext(_read(builder, shorts, start, place, mask), integers)
    return builder.bitcast(builder.shl(wide, ir.Constant(integers, [16] * vector.count)), vector)


def store_vector(
    builder: Any, vector: Any, start: Any, place: Any, element: Any, mask: Any = None
) -> None:
    """A float32 vector to memory of any of the three kinds."""
    if element == types.float32:
        write_vector(builder, vector, start, place, mask)
        return
    count = vector.type.count
    if element == types.int16:
        halves = ir.VectorType(HALF, count)
        write_vector(builder, builder.fptrunc(vector, halves), start, place, mask)
        return
    integers = ir.VectorType(INT32, count)

    def constant(value: int) -> ir.Constant:
        return ir.Constant(integers, [value] * count)

    bits = builder.bitcast(vector, integers)
    odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
    rounded = builder.add(bits, builder.add(odd, constant(0x7FFF)))  # to nearest, ties to even
    # Rounding could carry a NaN's bits over into infinity.
    is_nan = builder.fcmp_unordered("uno", vector, vector)
    rounded = builder.select(is_nan, constant(0x7FC00000), rounded)
    shorts = builder.trunc(builder.lshr(rounded, constant(16)), ir.VectorType(INT16, count))
    write_vector(builder, shorts, start, place, mask)


def _read(builder: Any, kind: Any, start: Any, place: Any, mask: Any) -> Any:
    address = builder.gep(start, [place], source_etype=kind.element)
    address = builder.bitcast(address, kind.as_pointer())
    align = _alignment(kind)
    if mask is None:
        return builder.load(address, typ=kind, align=align)
    zero = ir.Constant(kind, None)
    signature = ir.FunctionType(kind, [kind.as_pointer(), INT32, mask.type, kind])
    name = f"llvm.masked.load.{_mangled(kind)}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    return builder.call(function, [address, INT32(align), mask, zero])


def write_vector(builder: Any, value: Any, start: Any, place: Any, mask: Any) -> None:
    """Write a vector as it is, or the lanes of it that `mask` names."""
    kind = value.type
    address = builder.gep(start, [place], source_etype=kind.element)
    address = builder.bitcast(address, kind.as_pointer())
    align = _alignment(kind)
    if mask is None:
        builder.store(value, address, align=align)
        return
    arguments = [kind, kind.as_pointer(), INT32, mask.type]
    signature = ir.FunctionType(ir.VoidType(), arguments)
    name = f"llvm.masked.store.{_mangled(kind)}.p0"
    function = cgutils.get_or_insert_function(builder.module, signature, name)
    builder.call(function, [value, address, INT32(align), mask])


def _alignment(kind: Any) -> int:
    return 4 if kind.element in (FLOAT, INT32) else 2


def _mangled(kind: Any) -> str:
    element = {FLOAT: "f32", HALF: "f16", INT16: "i16"}[kind.element]
    return f"v{kind.count}{element}"
