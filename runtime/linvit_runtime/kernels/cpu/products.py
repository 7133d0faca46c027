"""Products added to tiles: numbers times a row, or times rows that a sign chooses."""

# Numba and llvmlite are untyped, and an intrinsic's arguments are types, not values.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

from llvmlite import ir
from numba import types

from linvit_runtime.kernels.cpu.tiles import pack, row_start, tile_intrinsic, unpack, vector_starts
from linvit_runtime.kernels.cpu.vectors import (
    INT32,
    INT64,
    fma,
    load_scalar,
    load_vector,
    shifted,
    splat,
    write_vector,
    zero_like,
)


@tile_intrinsic
def outer(_typing, tile, factors, offset, stride, row):
    """tile[r] += factors[offset + r * stride] * row, one fused multiply-add per vector."""

    def generate(_context, builder, signature, arguments):
        type_, row_type = signature.args[0], signature.args[4]
        packed, start, base, step, packed_row = arguments
        sums = iter(unpack(builder, type_, packed))
        vectors = unpack(builder, row_type, packed_row)
        out = []
        for r in range(type_.rows):
            factor = load_scalar(builder, start, row_start(builder, base, step, r))
            spread = splat(builder, factor, type_.lanes)
            out += [fma(builder, spread, vector, next(sums)) for vector in vectors]
        return pack(builder, type_, out)

    signature = tile(tile, factors, types.int64, types.int64, row)
    return signature, generate


@tile_intrinsic
def outer_of_two(_typing, tile, factors, offset, stride, signs, near, far):
    """tile[r] += factors[offset + r * stride] * (near where signs[r] > 0, else far)."""

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        packed, start, base, step, packed_signs, packed_near, packed_far = arguments
        sums = iter(unpack(builder, type_, packed))
        signs_of = iter(unpack(builder, type_, packed_signs))
        rows = [unpack(builder, signature.args[5], row) for row in (packed_near, packed_far)]
        out = []
        for r in range(type_.rows):
            factor = load_scalar(builder, start, row_start(builder, base, step, r))
            spread = splat(builder, factor, type_.lanes)
            for one, other in zip(*rows, strict=True):
                sign = next(signs_of)
                above = builder.fcmp_ordered(">", sign, zero_like(sign))
                chosen = builder.select(above, one, other)
                out.append(fma(builder, spread, chosen, next(sums)))
        return pack(builder, type_, out)

    signature = tile(tile, factors, types.int64, types.int64, signs, near, far)
    return signature, generate


@tile_intrinsic
def store_lines(_typing, tile, target, offset, first, stride, further):
    """Into int32 lane i where row first + i of a table starts, `further` on where x < 0."""

    def generate(context, builder, signature, arguments):
        type_ = signature.args[0]
        packed, start, place, base, step, far = arguments
        (x,) = unpack(builder, type_, packed)
        integers = ir.VectorType(INT32, type_.lanes)
        rows = ir.Constant(integers, list(range(type_.lanes)))
        base, step, far = (
            splat(builder, builder.trunc(number, INT32), type_.lanes)
            for number in (base, step, far)
        )
        lines = builder.mul(builder.add(rows, base), step)
        negative = builder.fcmp_ordered("<", x, zero_like(x))
        lines = builder.select(negative, builder.add(lines, far), lines)
        write_vector(builder, lines, start, place, None)
        return context.get_dummy_value()

    int64 = types.int64
    return types.void(tile, target, int64, int64, int64, int64), generate


@tile_intrinsic
def gather(_typing, tile, factors, offset, table, place, lines, line):
    """tile[u] += factors[offset + u] * row, the row of `table` at place + lines[line + u].

    The rows of the result are partial sums.
    """

    def generate(_context, builder, signature, arguments):
        type_ = signature.args[0]
        packed, start, base, rows, first, starts, index = arguments
        sums = iter(unpack(builder, type_, packed))
        out = []
        for u in range(type_.rows):
            factor = splat(
                builder, load_scalar(builder, start, shifted(builder, base, u)), type_.lanes
            )
            at = builder.gep(starts, [shifted(builder, index, u)], source_etype=INT32)
            row = builder.add(first, builder.zext(builder.load(at, typ=INT32), INT64))
            for where in vector_starts(builder, type_, row):
                vector = load_vector(builder, type_.vector, rows, where, types.float32)
                out.append(fma(builder, factor, vector, next(sums)))
        return pack(builder, type_, out)

    int64 = types.int64
    return tile(tile, factors, int64, table, int64, lines, int64), generate
