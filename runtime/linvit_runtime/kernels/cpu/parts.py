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

from linvit_runtime.kernels.cpu.arithmetic import (
    add,
    exp,
    fold,
    larger,
    largest,
    multiply,
    negate,
    relu,
    scale,
    smaller,
    subtract,
    total,
    where_positive,
    where_zero,
)
from linvit_runtime.kernels.cpu.products import gather, outer, outer_of_two, store_lines
from linvit_runtime.kernels.cpu.tiles import (
    READ,
    WRITE,
    as_int32,
    lanes_beyond_zero,
    load,
    load_row,
    lowest,
    part,
    prefetch,
    spread,
    store,
    store_row,
    transposed,
    zeros,
)

# In the order of `plan.CPU_FEATURE_MAPS`.
SPLIT_RELU, RELU, ELU_PLUS_ONE, SOFTMAX, IDENTITY = range(5)

ZERO, ONE = np.float32(0.0), np.float32(1.0)
NOTHING = np.float32(-np.inf)
"""What pads a row whose features are exponentials: exp(-inf) is 0."""


@part
def fetch(source, offset, size, LINE):
    """Have a row of a tensor fetched into the cache: rows of one head are far apart."""
    for i in range(offset, offset + size, LINE):
        prefetch(source, i, READ)


@part
def fetch_to_write(target, offset, size, LINE):
    """Have a row of a tensor fetched that will be written."""
    for i in range(offset, offset + size, LINE):
        prefetch(target, i, WRITE)


@part
def fetch_ahead(ahead, first, last, LINE):
    """Have tokens' rows of two tensors fetched, each given as pointer, offset, stride and size."""
    x, x_start, x_token, x_size, y, y_start, y_token, y_size = ahead
    for i in range(first, last):
        fetch(x, x_start + i * x_token, x_size, LINE)
        fetch(y, y_start + i * y_token, y_size, LINE)


@part
def stage(source, offset, size, factor, scratch, place, width, LANES):
    """`factor` times a row of a tensor, in float32 and padded with zeros."""
    for i in range(0, width, LANES):
        store(scale(load_row(source, offset, i, size, ZERO, LANES), factor), scratch, place + i, 0)


@part
def stage_features(source, offset, size, scratch, place, width, LANES, MAP):
    """phi of a row of q or k; for split_relu `width` features of x > 0, then as many of x < 0."""
    if MAP == SPLIT_RELU:
        for i in range(0, width, LANES):
            x = load_row(source, offset, i, size, ZERO, LANES)
            positive = relu(x)
            store(positive, scratch, place + i, 0)
            store(subtract(positive, x), scratch, place + width + i, 0)
    if MAP == RELU:
        for i in range(0, width, LANES):
            store(relu(load_row(source, offset, i, size, ZERO, LANES)), scratch, place + i, 0)
    if MAP == ELU_PLUS_ONE:
        for i in range(0, width, LANES):
            x = load_row(source, offset, i, size, NOTHING, LANES)
            # relu(x) + exp(min(x, 0)), where exp(0) is the one of x + 1
            x = add(relu(x), exp(smaller(x, zeros(1, 1, LANES))))
            store(x, scratch, place + i, 0)
    if MAP == SOFTMAX:
        peaks = spread(NOTHING, LANES)
        for i in range(0, width, LANES):
            x = load_row(source, offset, i, size, NOTHING, LANES)
            store(x, scratch, place + i, 0)
            peaks = larger(peaks, x)
        peak = spread(largest(peaks), LANES)
        sums = zeros(1, 1, LANES)
        for i in range(place, place + width, LANES):
            x = exp(subtract(load(1, 1, LANES, scratch, i, 0), peak))
            store(x, scratch, i, 0)
            sums = add(sums, x)
        inverse = ONE / total(sums)
        for i in range(place, place + width, LANES):
            store(scale(load(1, 1, LANES, scratch, i, 0), inverse), scratch, i, 0)
    if MAP == IDENTITY:
        for i in range(0, width, LANES):
            store(load_row(source, offset, i, size, ZERO, LANES), scratch, place + i, 0)


@part
def clear(scratch, place, count, LANES):
    """`count` zeros, whole vectors."""
    for i in range(place, place + count, LANES):
        store(zeros(1, 1, LANES), scratch, i, 0)


@part
def multiply_row(scratch, place, count, factor, LANES):
    """`count` numbers times `factor`, whole vectors."""
    for i in range(place, place + count, LANES):
        store(scale(load(1, 1, LANES, scratch, i, 0), factor), scratch, i, 0)


@part
def dot(scratch, x, y, width, LANES):
    """x.y, of two rows."""
    sums = zeros(1, 1, LANES)
    for i in range(0, width, LANES):
        row = load(1, 1, LANES, scratch, y + i, 0)
        sums = add(sums, multiply(load(1, 1, LANES, scratch, x + i, 0), row))
    return total(sums)


@part
def accumulate(
    scratch, state, first, x, g, count, x_width, g_width, ahead, TOKENS, LINE, ROWS, PANEL, LANES
):
    """state[f] += sum_i x[i, f] g[i] over a block of `count` tokens; from 0 with the first one.

    A block has sums of its own: those of many tokens would lose digits to those of all.
    """
    steps = g_width // (PANEL * LANES) * (x_width // ROWS)
    step = 0
    for column in range(0, g_width, PANEL * LANES):
        for f in range(0, x_width, ROWS):
            fetch_ahead(ahead, step * TOKENS // steps, (step + 1) * TOKENS // steps, LINE)
            step += 1
            place = state + f * g_width + column
            sums = zeros(ROWS, PANEL, LANES)
            for i in range(count):
                row = load(1, PANEL, LANES, scratch, g + i * g_width + column, 0)
                sums = outer(sums, scratch, x + i * x_width + f, 1, row)
            if first > 0:
                sums = add(load(ROWS, PANEL, LANES, scratch, place, g_width), sums)
            store(sums, scratch, place, g_width)


@part
def add_rows(scratch, sum_, first, weights, x, count, width, PANEL, LANES):
    """sum_ += sum_i weights[i] x[i] over a block of `count` tokens; from 0 with the first one."""
    for i in range(0, width, PANEL * LANES):
        sums = zeros(1, PANEL, LANES)
        for token in range(count):
            row = load(1, PANEL, LANES, scratch, x + token * width + i, 0)
            sums = outer(sums, scratch, weights + token, 0, row)
        if first > 0:
            sums = add(load(1, PANEL, LANES, scratch, sum_ + i, 0), sums)
        store(sums, scratch, sum_ + i, 0)


@part
def signs(scratch, line, TOKENS, LANES):
    """The tokens of which a channel is positive, and those of which it is negative, as bits."""
    positive, negative = 0, 0
    for i in range(0, TOKENS, LANES):
        x = load(1, 1, LANES, scratch, line + i, 0)
        positive |= lanes_beyond_zero(x, 1) << i
        negative |= lanes_beyond_zero(x, -1) << i
    return positive, negative


@part
def sum_of(scratch, line, tokens, g, g_width, PANEL, LANES):
    """The sum of x[i] g[i] over a set of tokens."""
    sums = zeros(1, PANEL, LANES)
    while tokens != 0:
        i = lowest(tokens)
        row = load(1, PANEL, LANES, scratch, g + i * g_width, 0)
        sums = outer(sums, scratch, line + i, 0, row)
        tokens &= tokens - 1
    return sums


@part
def accumulate_by_sign(
    scratch, state, first, x, columns, g, x_width, g_width, ahead, TOKENS, LINE, PANEL, LANES
):
    """`accumulate` for split-relu, a channel at a time over the tokens of one sign, then the other.

    A token has only one of the two features of a channel: half of the products are left out.
    """
    by_channel(scratch, x, columns, x_width, TOKENS, LANES)
    for d in range(x_width):
        fetch_ahead(ahead, d * TOKENS // x_width, (d + 1) * TOKENS // x_width, LINE)
        line = columns + d * TOKENS
        positive, negative = signs(scratch, line, TOKENS, LANES)
        for column in range(0, g_width, PANEL * LANES):
            near, far = state + d * g_width + column, state + (x_width + d) * g_width + column
            more = sum_of(scratch, line, positive, g + column, g_width, PANEL, LANES)
            less = negate(sum_of(scratch, line, negative, g + column, g_width, PANEL, LANES))
            if first > 0:
                more = add(load(1, PANEL, LANES, scratch, near, 0), more)
                less = add(load(1, PANEL, LANES, scratch, far, 0), less)
            store(more, scratch, near, 0)
            store(less, scratch, far, 0)


@part
def by_channel(scratch, x, columns, width, TOKENS, LANES):
    """columns[d, i] = x[i, d] for a block of tokens, from their phi(x) of split-relu."""
    for i in range(0, TOKENS, LANES):
        for d in range(0, width, LANES):
            place = x + 2 * i * width + d
            positive = load(LANES, 1, LANES, scratch, place, 2 * width)
            negative = load(LANES, 1, LANES, scratch, place + width, 2 * width)
            tile = transposed(subtract(positive, negative))
            store(tile, scratch, columns + d * TOKENS + i, TOKENS)


@part
def project(scratch, g, table, out, count, g_width, out_width, ROWS, PANEL, LANES):
    """out[i] = g[i] table, rows over features, for `count` tokens up to whole tiles of ROWS."""
    for column in range(0, out_width, PANEL * LANES):
        for i in range(0, count, ROWS):
            sums = zeros(ROWS, PANEL, LANES)
            for e in range(g_width):
                row = load(1, PANEL, LANES, scratch, table + e * out_width + column, 0)
                sums = outer(sums, scratch, g + i * g_width + e, g_width, row)
            store(sums, scratch, out + i * out_width + column, out_width)


@part
def project_features(scratch, x, g, table, out, count, g_width, width, ROWS, PANEL, LANES, MAP):
    """out[i] = g[i] table, rows over those features that tokens of phi(x) can have."""
    if MAP == SPLIT_RELU:
        project_by_sign(scratch, x, g, table, out, count, g_width, width, ROWS, PANEL, LANES)
    else:
        project(scratch, g, table, out, count, g_width, width, ROWS, PANEL, LANES)


@part
def project_by_sign(scratch, x, g, table, out, count, g_width, width, ROWS, PANEL, LANES):
    """`project` for split-relu: out[i] has of the two features of a channel that of x[i]'s sign.

    Choosing costs less than multiplying by both. The last tile may repeat tokens.
    """
    for column in range(0, width, PANEL * LANES):
        for first in range(0, count, ROWS):
            i = min(first, max(0, count - ROWS))
            positive = load(ROWS, PANEL, LANES, scratch, x + 2 * i * width + column, 2 * width)
            sums = zeros(ROWS, PANEL, LANES)
            for e in range(g_width):
                place = table + 2 * e * width + column
                near = load(1, PANEL, LANES, scratch, place, 0)
                far = load(1, PANEL, LANES, scratch, place + width, 0)
                factors = g + i * g_width + e
                sums = outer_of_two(sums, scratch, factors, g_width, positive, near, far)
            store(sums, scratch, out + i * width + column, width)


@part
def dot_by_sign(scratch, x, t, width, LANES):
    """phi(x).t for split-relu, where t is a row of `project_by_sign`."""
    sums = zeros(1, 1, LANES)
    for i in range(0, width, LANES):
        positive = load(1, 1, LANES, scratch, x + i, 0)
        negative = load(1, 1, LANES, scratch, x + width + i, 0)
        row = load(1, 1, LANES, scratch, t + i, 0)
        sums = add(sums, multiply(add(positive, negative), row))
    return total(sums)


@part
def stage_query(source, offset, size, scratch, x, lines, z, x_width, width, LANES):
    """phi of split-relu of a row of q, ready for `read`; returns phi(q).z.

    Of the two features of a channel of split-relu only the one of its sign counts: |q| is what is
    staged, and beside it where the row of the state for that sign starts.
    """
    sums = zeros(1, 1, LANES)
    for i in range(0, x_width, LANES):
        q = load_row(source, offset, i, size, ZERO, LANES)
        positive = relu(q)
        negative = subtract(positive, q)
        store(add(positive, negative), scratch, x + i, 0)
        store_lines(q, as_int32(scratch), lines + i, i, width, x_width * width)
        near = multiply(positive, load(1, 1, LANES, scratch, z + i, 0))
        far = multiply(negative, load(1, 1, LANES, scratch, z + x_width + i, 0))
        sums = add(sums, add(near, far))
    return total(sums)


@part
def to_query(scratch, x, lines, x_width, width, LANES):
    """Turn phi of split-relu at x into what `stage_query` stages."""
    for i in range(0, x_width, LANES):
        positive = load(1, 1, LANES, scratch, x + i, 0)
        negative = load(1, 1, LANES, scratch, x + x_width + i, 0)
        store(add(positive, negative), scratch, x + i, 0)
        sign = subtract(positive, negative)
        store_lines(sign, as_int32(scratch), lines + i, i, width, x_width * width)


@part
def read(
    scratch, state, x, lines, factor, spare, target, at, size, x_width, width, UNROLL, PANEL, LANES
):
    """target[at:] = factor sum_d x[d] state[lines[d]], a row of `size` numbers of a tensor.

    `spare` is a row of scratch for the last vectors, if `size` cuts them.
    """
    for column in range(0, width, PANEL * LANES):
        sums = zeros(UNROLL, PANEL, LANES)
        for d in range(0, x_width, UNROLL):
            starts = as_int32(scratch)
            sums = gather(sums, scratch, x + d, scratch, state + column, starts, lines + d)
        row = scale(fold(sums), factor)
        if column + PANEL * LANES <= size:
            store(row, target, at + column, 0)
        else:
            store(row, scratch, spare + column, 0)
            for i in range(column, size, LANES):
                vector = load(1, 1, LANES, scratch, spare + i, 0)
                store_row(vector, target, at, i, size, LANES)


@part
def write_row(scratch, place, factor, target, at, size, LANES):
    """target[at:] = `factor` times a row, `size` numbers of a tensor."""
    for i in range(0, size, LANES):
        row = scale(load(1, 1, LANES, scratch, place + i, 0), factor)
        store_row(row, target, at, i, size, LANES)


@part
def write_input_gradient(scratch, t, z, x, inverse, w, mean, target, at, size, width, LANES, MAP):
    """dL/dx, a row of `size` numbers of a tensor, from dL/dphi(x) = inverse t - w z and phi(x).

    For split-relu t is a row of `project_by_sign`. `mean` is phi(x).dL/dphi(x), which only the
    softmax needs.
    """
    for i in range(0, width, LANES):
        phi = load(1, 1, LANES, scratch, x + i, 0)
        z_row = load(1, 1, LANES, scratch, z + i, 0)
        if MAP == SPLIT_RELU:
            z_row = where_positive(phi, z_row, load(1, 1, LANES, scratch, z + width + i, 0))
        row = subtract(scale(load(1, 1, LANES, scratch, t + i, 0), inverse), scale(z_row, w))
        nothing = zeros(1, 1, LANES)
        # At 0 neither half of relu is active: the subgradient is 0, as in torch.
        if MAP == SPLIT_RELU:
            negative = load(1, 1, LANES, scratch, x + width + i, 0)
            row = where_positive(phi, row, where_zero(negative, nothing, negate(row)))
        if MAP == RELU:
            row = where_zero(phi, nothing, row)
        if MAP == ELU_PLUS_ONE:  # phi' is 1 where phi >= 1, and exp(x) = phi below
            row = multiply(row, smaller(phi, spread(ONE, LANES)))
        if MAP == SOFTMAX:
            row = multiply(subtract(row, spread(mean, LANES)), phi)
        store_row(row, target, at, i, size, LANES)


@part
def transpose(source, offset, height, width, scratch, out, out_width, LANES):
    """out[j, i] = source[i, j] for a table `[height, width]`."""
    for i in range(0, height, LANES):
        for j in range(0, width, LANES):
            if i + LANES <= height and j + LANES <= width:
                tile = load(LANES, 1, LANES, source, offset + i * width + j, width)
                store(transposed(tile), scratch, out + j * out_width + i, out_width)
            else:
                for row in range(i, min(i + LANES, height)):
                    for column in range(j, min(j + LANES, width)):
                        place = out + column * out_width + row
                        scratch[place] = source[offset + row * width + column]
