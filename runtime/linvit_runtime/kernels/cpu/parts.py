"""The steps that the CPU kernels of linear attention are made of.

All work on one thread's float32 scratch, where the rows of tokens and states are padded to whole
vectors. An argument in capitals must be a constant: LANES of a vector, PANEL vectors and ROWS rows
of a tile. Widths are of padded rows. Names are those of `torch_backend.py`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

import numpy as np

from linvit_runtime.kernels.cpu.tiles import (
    add,
    copy_row,
    exp,
    fill,
    fold,
    gather,
    largest,
    load,
    multiply,
    negate,
    outer,
    part,
    relu,
    scale,
    smaller,
    spread,
    store,
    subtract,
    total,
    where_positive,
    where_zero,
    zeros,
)

# In the order of `plan.CPU_FEATURE_MAPS`.
SPLIT_RELU, RELU, ELU_PLUS_ONE, SOFTMAX, IDENTITY = range(5)


@part
def stage(source, offset, size, scratch, place, width, LANES):
    """A row of a tensor, widened to float32 and padded with zeros."""
    copy_row(source, offset, size, scratch, place, LANES)
    fill(scratch, place + size, width - size, np.float32(0.0))


@part
def stage_features(source, offset, size, scratch, place, width, LANES, MAP):
    """A row of q or k as phi of it; for split_relu as x itself, whose sign the products read."""
    copy_row(source, offset, size, scratch, place, LANES)
    # What pads a row must have no feature, and exp(-inf) is 0.
    pad = np.float32(-np.inf) if MAP in (ELU_PLUS_ONE, SOFTMAX) else np.float32(0.0)
    fill(scratch, place + size, width - size, pad)
    if MAP == RELU:
        for i in range(place, place + width, LANES):
            store(relu(load(1, 1, LANES, scratch, i, 0)), scratch, i, 0)
    if MAP == ELU_PLUS_ONE:
        for i in range(place, place + width, LANES):
            x = load(1, 1, LANES, scratch, i, 0)
            # relu(x) + exp(min(x, 0)), where exp(0) is the one of x + 1
            store(add(relu(x), exp(smaller(x, zeros(1, 1, LANES)))), scratch, i, 0)
    if MAP == SOFTMAX:
        most = np.float32(-np.inf)
        for i in range(place, place + width, LANES):
            most = max(most, largest(load(1, 1, LANES, scratch, i, 0)))
        sums = zeros(1, 1, LANES)
        for i in range(place, place + width, LANES):
            x = exp(subtract(load(1, 1, LANES, scratch, i, 0), spread(most, LANES)))
            store(x, scratch, i, 0)
            sums = add(sums, x)
        inverse = np.float32(1.0) / total(sums)
        for i in range(place, place + width, LANES):
            store(scale(load(1, 1, LANES, scratch, i, 0), inverse), scratch, i, 0)


@part
def clear(scratch, place, count, LANES):
    """`count` zeros, whole vectors."""
    for i in range(place, place + count, LANES):
        store(zeros(1, 1, LANES), scratch, i, 0)


@part
def add_features(scratch, z, x, factor, width, LANES, SIGNED):
    """z += factor * phi(x)."""
    for i in range(0, width, LANES):
        row = scale(load(1, 1, LANES, scratch, x + i, 0), factor)
        if SIGNED:
            positive = where_positive(load(1, 1, LANES, scratch, x + i, 0), row, zeros(1, 1, LANES))
            negative = subtract(positive, row)
            store(add(load(1, 1, LANES, scratch, z + i, 0), positive), scratch, z + i, 0)
            far = z + width + i
            store(add(load(1, 1, LANES, scratch, far, 0), negative), scratch, far, 0)
        else:
            store(add(load(1, 1, LANES, scratch, z + i, 0), row), scratch, z + i, 0)


@part
def selected(scratch, table, x, i, width, LANES, SIGNED):
    """Where x > 0 the positive half of a row over features, else minus the negative half."""
    near = load(1, 1, LANES, scratch, table + i, 0)
    if SIGNED:
        far = load(1, 1, LANES, scratch, table + width + i, 0)
        near = where_positive(load(1, 1, LANES, scratch, x + i, 0), near, negate(far))
    return near


@part
def feature_product(scratch, table, x, width, LANES, SIGNED):
    """phi(x).table, for a row of F numbers."""
    sums = zeros(1, 1, LANES)
    for i in range(0, width, LANES):
        row = selected(scratch, table, x, i, width, LANES, SIGNED)
        sums = add(sums, multiply(load(1, 1, LANES, scratch, x + i, 0), row))
    return total(sums)


@part
def accumulate(scratch, state, x, g, count, x_width, g_width, ROWS, PANEL, LANES, SIGN):
    """state[d] += sum_i f(x[i, d]) g[i] over `count` tokens, with f as `outer`'s SIGN says."""
    for column in range(0, g_width, PANEL * LANES):
        for d in range(0, x_width, ROWS):
            place = state + d * g_width + column
            sums = load(ROWS, PANEL, LANES, scratch, place, g_width)
            for i in range(count):
                row = load(1, PANEL, LANES, scratch, g + i * g_width + column, 0)
                sums = outer(sums, scratch, x + i * x_width + d, 1, row, SIGN)
            store(sums, scratch, place, g_width)


@part
def accumulate_features(scratch, state, x, g, count, x_width, g_width, ROWS, PANEL, LANES, SIGNED):
    """state += phi(x)^T g over a block of `count` tokens."""
    if SIGNED:
        accumulate(scratch, state, x, g, count, x_width, g_width, ROWS, PANEL, LANES, 1)
        half = state + x_width * g_width
        accumulate(scratch, half, x, g, count, x_width, g_width, ROWS, PANEL, LANES, -1)
    else:
        accumulate(scratch, state, x, g, count, x_width, g_width, ROWS, PANEL, LANES, 0)


@part
def read(scratch, state, x, out, factor, x_width, out_width, UNROLL, PANEL, LANES, SIGNED):
    """out = factor phi(x) state, a row. Of the two rows of a channel only one has a factor."""
    for column in range(0, out_width, PANEL * LANES):
        sums = zeros(UNROLL, PANEL, LANES)
        for d in range(0, x_width, UNROLL):
            place = state + d * out_width + column
            half = x_width * out_width
            sums = gather(sums, scratch, x + d, scratch, place, out_width, half, SIGNED)
        store(scale(fold(sums), factor), scratch, out + column, 0)


@part
def project(scratch, g, table, out, count, g_width, out_width, ROWS, PANEL, LANES):
    """out[i] = g[i] table, rows over features, for `count` tokens up to whole tiles of ROWS."""
    for column in range(0, out_width, PANEL * LANES):
        for i in range(0, count, ROWS):
            sums = zeros(ROWS, PANEL, LANES)
            for e in range(g_width):
                row = load(1, PANEL, LANES, scratch, table + e * out_width + column, 0)
                sums = outer(sums, scratch, g + i * g_width + e, g_width, row, 0)
            store(sums, scratch, out + i * out_width + column, out_width)


@part
def input_gradient(scratch, gradient, x, out, width, LANES, MAP):
    """Turn dL/dphi(x), a row over features, into dL/dx, from phi(x) (for split_relu x) alone."""
    if MAP == SPLIT_RELU:
        for i in range(0, width, LANES):
            row = selected(scratch, gradient, x, i, width, LANES, 1)
            # At 0 neither half is active: the subgradient is 0, as in torch.relu.
            row = where_zero(load(1, 1, LANES, scratch, x + i, 0), zeros(1, 1, LANES), row)
            store(row, scratch, out + i, 0)
    if MAP == RELU:
        for i in range(0, width, LANES):
            row = load(1, 1, LANES, scratch, gradient + i, 0)
            row = where_zero(load(1, 1, LANES, scratch, x + i, 0), zeros(1, 1, LANES), row)
            store(row, scratch, out + i, 0)
    if MAP == ELU_PLUS_ONE:
        for i in range(0, width, LANES):
            # phi' is 1 where phi >= 1, and exp(x) = phi below
            slope = smaller(load(1, 1, LANES, scratch, x + i, 0), spread(np.float32(1.0), LANES))
            store(multiply(load(1, 1, LANES, scratch, gradient + i, 0), slope), scratch, out + i, 0)
    if MAP == SOFTMAX:
        mean = feature_product(scratch, gradient, x, width, LANES, 0)
        for i in range(0, width, LANES):
            row = subtract(load(1, 1, LANES, scratch, gradient + i, 0), spread(mean, LANES))
            store(multiply(row, load(1, 1, LANES, scratch, x + i, 0)), scratch, out + i, 0)
    if MAP == IDENTITY:
        for i in range(0, width, LANES):
            store(load(1, 1, LANES, scratch, gradient + i, 0), scratch, out + i, 0)


@part
def transpose(scratch, table, out, height, width):
    """out[j, i] = table[i, j]."""
    for i in range(height):
        for j in range(width):
            scratch[out + j * height + i] = scratch[table + i * width + j]
