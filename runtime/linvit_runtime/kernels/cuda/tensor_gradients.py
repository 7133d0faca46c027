"""Steps of the tensor-core backward pass that give the gradients of tokens: dq, dk and dv.

Both kinds of token need a product with a state, S or its gradient, whose rows are features. With
y the output's gradient for queries and v for keys, t = state y is such a product, and then::

    queries   den = phi(q).z + c eps   r = 1 / den   s = r phi(q).t   (= out . dout)
              dphi(q) = r t - r s z
    keys      dphi(k) = c (dS v + dz)                dv = c dS^T phi(k)

A warp computes 16 tokens (the rows of A and C) for a group of channels. A lane has rows g and g+8
of C, and in each tile of 8 columns two neighbours, 4 bytes; memory is fast with 16 bytes. So the
channels of a block of 4 tiles are permuted: column 2t+i of tile j is the true channel 8t + 2j + i,
and a lane's columns of the block are 8 neighbours, which it loads and stores at once. Rows and
columns of the state in shared memory are permuted so; those of the tiles are not, as A is loaded
by lanes too. A width with an odd number of blocks has blocks of 2 tiles and accesses of 8 bytes.

The state was divided by `back` as it was rounded to half precision; see tensor_gradient_state.py.

Legend: c the scale; g = lane / 4, t = lane % 4; chunk 16 bytes; tile as a stage of shared memory 64
tokens, as an operand of `mma` 8 columns; row 0 and 1 of a lane are g and g+8 of 16 tokens.
"""

from linvit_runtime.kernels.cuda.ptx_ops import Operation, Operations
from linvit_runtime.kernels.cuda.tensor_gradient_plan import GradientConstants
from linvit_runtime.kernels.cuda.tensor_gradient_rows import (
    build_dot_features,
    build_load_rows,
    build_load_sums,
    build_multiply_state,
    build_row_token,
    build_total_dots,
)
from linvit_runtime.kernels.cuda.tensor_plan import TILE_TOKENS
from linvit_runtime.kernels.cuda.tensor_steps import (
    Pointer,
    Registers,
    build_feature_pair,
    build_place,
)


def build_query_gradients(constants: GradientConstants, ops: Operations) -> Operation:
    """Make the step that gives dq of a tile, and what the gradients of S and z need of it."""
    cuda, float32, row_token = ops.cuda, ops.float32, build_row_token(constants, ops)
    warp_number, select = ops.warp_number, ops.select
    reciprocal, store_shared = ops.reciprocal, ops.store_shared
    multiply_state = build_multiply_state(constants, ops)
    dot_features, total_dots = build_dot_features(constants, ops), build_total_dots(constants, ops)
    write_gradients = _build_write_gradients(constants, ops)
    weights_place, slopes_place = constants.weights_start, constants.slopes_start
    channel_groups, token_groups = constants.channel_groups, constants.token_groups
    exchanges = channel_groups > 1
    num_products = constants.features_per_channel * constants.group_channels // 2

    def query_gradients(
        shared: int, queries: int, grad_outs: int, tokens_left: int,
        back: float, weight_scale: float, scaled_eps: float,
        grad_q: Pointer, grad_q_start: int, grad_q_token: int,
    ) -> None:  # fmt: skip
        """Write dq; leave r times `weight_scale`, and s, of each token in shared memory."""
        products = cuda.local.array(num_products, float32)
        dots = cuda.local.array(4, float32)
        factors = cuda.local.array(6, float32)
        group = warp_number() % channel_groups
        step = 16 * (warp_number() // channel_groups)
        while step < TILE_TOKENS:
            if step < min(TILE_TOKENS, tokens_left):
                multiply_state(shared, grad_outs, step, products)
                dot_features(shared, queries, step, products, dots)
            if exchanges:
                cuda.syncthreads()
            if step < min(TILE_TOKENS, tokens_left):
                total_dots(shared, step, dots)
                for row in range(2):
                    token = step + 8 * row + row_token()
                    # A row that only pads the tile is 0, and 1 / eps may be infinite.
                    inverse = reciprocal(dots[row] + scaled_eps)
                    inverse = select(token < tokens_left, inverse, float32(0))
                    slope = inverse * dots[2 + row] * back
                    factors[row] = inverse * back
                    factors[2 + row] = -inverse * slope
                    factors[4 + row] = inverse * slope * scaled_eps  # p.dphi(q) of a softmax p
                    if group == 0:
                        weight = inverse * weight_scale
                        store_shared(shared + weights_place + 4 * token, weight)
                        store_shared(shared + slopes_place + 4 * token, slope)
                write_gradients(
                    shared, queries, step, tokens_left, products, factors,
                    grad_q, grad_q_start, grad_q_token,
                )  # fmt: skip
            step += 16 * token_groups

    return ops.device(query_gradients)


def build_key_gradients(constants: GradientConstants, ops: Operations) -> Operation:
    """Make the step that gives dk and dv of a tile; z's place holds c dz by then."""
    cuda, float32, warp_number = ops.cuda, ops.float32, ops.warp_number
    multiply_state = build_multiply_state(constants, ops)
    dot_features, total_dots = build_dot_features(constants, ops), build_total_dots(constants, ops)
    write_gradients = _build_write_gradients(constants, ops)
    write_values = _build_write_values(constants, ops)
    takes_softmax = constants.feature_map == "softmax"
    channel_groups, token_groups = constants.channel_groups, constants.token_groups
    exchanges = takes_softmax and channel_groups > 1
    num_products = constants.features_per_channel * constants.group_channels // 2

    def key_gradients(
        shared: int, keys: int, values: int, tokens_left: int, back: float,
        grad_k: Pointer, grad_k_start: int, grad_k_token: int,
        grad_v: Pointer, grad_v_start: int, grad_v_token: int,
    ) -> None:  # fmt: skip
        products = cuda.local.array(num_products, float32)
        dots = cuda.local.array(4, float32)
        factors = cuda.local.array(6, float32)
        step = 16 * (warp_number() // channel_groups)
        while step < TILE_TOKENS:
            if step < min(TILE_TOKENS, tokens_left):
                multiply_state(shared, values, step, products)
                if takes_softmax:
                    dot_features(shared, keys, step, products, dots)
            if exchanges:
                cuda.syncthreads()
            if step < min(TILE_TOKENS, tokens_left):
                if takes_softmax:
                    total_dots(shared, step, dots)
                for row in range(2):
                    factors[row] = back
                    factors[2 + row] = float32(1)
                    factors[4 + row] = float32(0)
                    if takes_softmax:
                        factors[4 + row] = back * dots[2 + row] + dots[row]  # p.dphi(k)
                write_gradients(
                    shared, keys, step, tokens_left, products, factors,
                    grad_k, grad_k_start, grad_k_token,
                )  # fmt: skip
                write_values(
                    shared, keys, step, tokens_left, back, grad_v, grad_v_start, grad_v_token
                )
            step += 16 * token_groups

    return ops.device(key_gradients)


def _build_input_gradient(constants: GradientConstants, ops: Operations) -> Operation:
    """Make `input_gradient(x, f, part, g, dot)`: g = dphi times the derivative at x.

    f is phi(x) of that part. Of a softmax, x and f are its result p, and dot is p.dphi.
    """
    select, float32 = ops.select, ops.float32

    def split_relu(x: float, f: float, part: int, g: float, dot: float) -> float:
        if part == 0:
            return select(x > float32(0), g, float32(0))
        return select(x < float32(0), -g, float32(0))

    def relu(x: float, f: float, part: int, g: float, dot: float) -> float:
        return select(x > float32(0), g, float32(0))

    def elu_plus_one(x: float, f: float, part: int, g: float, dot: float) -> float:
        return select(x > float32(0), g, f * g)

    def softmax(x: float, f: float, part: int, g: float, dot: float) -> float:
        return f * (g - dot)

    def identity(x: float, f: float, part: int, g: float, dot: float) -> float:
        return g

    by_name: dict[str, Operation] = {
        "split_relu": split_relu,
        "relu": relu,
        "elu_plus_one": elu_plus_one,
        "softmax": softmax,
        "identity": identity,
    }
    return ops.device(by_name[constants.feature_map])


def _build_write_gradients(constants: GradientConstants, ops: Operations) -> Operation:
    cuda, uint32, float32 = ops.cuda, ops.uint32, ops.float32
    thread_number, warp_number = ops.thread_number, ops.warp_number
    low, high, pack, row_token = ops.low, ops.high, ops.pack, build_row_token(constants, ops)
    load_rows, load_sums = build_load_rows(constants, ops), build_load_sums(constants, ops)
    feature_pair, input_gradient = (
        build_feature_pair(constants, ops),
        _build_input_gradient(constants, ops),
    )
    parts, block_tiles = constants.features_per_channel, constants.block_tiles
    channel_groups, group_channels = constants.channel_groups, constants.group_channels
    group_tiles, num_words = group_channels // 8, 2 * block_tiles
    blocks, num_sums = group_tiles // block_tiles, parts * num_words
    store = ops.store_global_16 if block_tiles == 4 else ops.store_global_8

    def write_gradients(
        shared: int, tile: int, step: int, tokens_left: int,
        products: Registers, factors: Registers,
        out: Pointer, out_start: int, out_token: int,
    ) -> None:  # fmt: skip
        """Write dx from dphi(x) = factors[row] t + factors[2 + row] z, for the group's channels."""
        words = cuda.local.array(num_words, uint32)
        sums = cuda.local.array(num_sums, float32)
        lane = thread_number() & 31
        group = warp_number() % channel_groups
        first = out_start + group * group_channels + (lane & 3) * num_words
        for block in range(blocks):
            load_rows(words, tile, step, group * blocks + block)
            for part in range(parts):
                load_sums(sums, part * num_words, shared, part, block)
            for row in range(2):
                t_factor, z_factor, dot = factors[row], factors[2 + row], factors[4 + row]
                for j in range(block_tiles):
                    word = words[row * block_tiles + j]
                    x, y = float32(0), float32(0)
                    for part in range(parts):
                        features = feature_pair(word, part)
                        i = 4 * (part * group_tiles + block * block_tiles + j) + 2 * row
                        z = part * num_words + 2 * j
                        a = t_factor * products[i] + z_factor * sums[z]
                        b = t_factor * products[i + 1] + z_factor * sums[z + 1]
                        x += input_gradient(low(word), low(features), part, a, dot)
                        y += input_gradient(high(word), high(features), part, b, dot)
                    words[row * block_tiles + j] = pack(x, y)
                token = step + 8 * row + row_token()
                place = first + token * out_token + 8 * block_tiles * block
                store(out, place, words, row * block_tiles, token < tokens_left)

    return ops.device(write_gradients)


def _build_write_values(constants: GradientConstants, ops: Operations) -> Operation:
    cuda, uint32, float32, mma = ops.cuda, ops.uint32, ops.float32, ops.mma
    thread_number, warp_number, pack = ops.thread_number, ops.warp_number, ops.pack
    ldmatrix_trans, load_rows = ops.ldmatrix_trans, build_load_rows(constants, ops)
    place, feature_pair = build_place(constants, ops), build_feature_pair(constants, ops)
    head_dim, row_bytes = constants.head_dim, constants.row_bytes
    row_token, parts = build_row_token(constants, ops), constants.features_per_channel
    block_tiles = constants.block_tiles
    channel_groups, group_tiles = constants.channel_groups, constants.group_channels // 8
    blocks, steps, pairs = head_dim // 8 // block_tiles, block_tiles // 2, group_tiles // 2
    num_words, num_outputs = 2 * block_tiles, 4 * group_tiles
    store = ops.store_global_16 if block_tiles == 4 else ops.store_global_8

    def write_values(
        shared: int, keys: int, step: int, tokens_left: int, back: float,
        out: Pointer, out_start: int, out_token: int,
    ) -> None:  # fmt: skip
        """Write dv = c dS^T phi(k), for as many columns as the group has channels."""
        words = cuda.local.array(num_words, uint32)
        rows = cuda.local.array(4, uint32)
        factors = cuda.local.array(4, uint32)
        outputs = cuda.local.array(num_outputs, float32)
        lane = thread_number() & 31
        first_tile = group_tiles * (warp_number() % channel_groups)
        for i in range(num_outputs):
            outputs[i] = float32(0)
        for block in range(blocks):
            load_rows(words, keys, step, block)
            for part in range(parts):
                for k in range(steps):
                    for word in range(2):
                        rows[2 * word] = feature_pair(words[2 * k + word], part)
                        i = block_tiles + 2 * k + word
                        rows[2 * word + 1] = feature_pair(words[i], part)
                    row = part * head_dim + 8 * block_tiles * block + 16 * k
                    for pair in range(pairs):
                        chunk = place(lane & 15, first_tile + 2 * pair + (lane >> 4))
                        ldmatrix_trans(factors, 0, shared + chunk + row * row_bytes)
                        mma(outputs, 8 * pair, rows, 0, factors, 0)
                        mma(outputs, 8 * pair + 4, rows, 0, factors, 2)
        first = out_start + 8 * first_tile + (lane & 3) * num_words
        for block in range(group_tiles // block_tiles):
            for row in range(2):
                token = step + 8 * row + row_token()
                for j in range(block_tiles):
                    i = 4 * (block * block_tiles + j) + 2 * row
                    words[j] = pack(outputs[i] * back, outputs[i + 1] * back)
                place_out = first + token * out_token + 8 * block_tiles * block
                store(out, place_out, words, 0, token < tokens_left)

    return ops.device(write_values)
