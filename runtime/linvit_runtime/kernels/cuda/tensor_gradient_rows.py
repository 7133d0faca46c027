"""What the gradients of queries and of keys have in common: rows of tokens, and products with S.

`tensor_gradients.py` explains who computes what, and the order of channels.

Legend: D head width; t = lane % 4; chunk 16 bytes; row 0 and 1 of a lane are two of 16 tokens, 8
apart; group the channels that a warp works on, 32 of them or D.
"""

from linvit_runtime.kernels.cuda.ptx_ops import Operation, Operations
from linvit_runtime.kernels.cuda.tensor_gradient_plan import GradientConstants
from linvit_runtime.kernels.cuda.tensor_steps import Registers, build_feature_pair, build_place


def build_row_token(constants: GradientConstants, ops: Operations) -> Operation:
    """Make `row_token()`: which of 16 tokens a lane's row 0 is; row 1 is 8 further.

    The order of rows is free. Where the swizzle takes three bits of the row, neighbours would be in
    the same groups of 4 banks, only swapped; rows that 8 lanes load at once are 4 tokens apart.
    """
    thread_number = ops.thread_number

    def in_order() -> int:
        return (thread_number() & 31) >> 2

    def apart() -> int:
        lane = thread_number() & 31
        return (lane >> 3) | (lane & 4)

    return ops.device(apart if constants.swizzle_mask == 7 else in_order)


def build_load_rows(constants: GradientConstants, ops: Operations) -> Operation:
    """Make `load_rows(words, tile, step, block)`: a lane's channels of its two rows."""
    thread_number, row_token = ops.thread_number, build_row_token(constants, ops)
    place, row_bytes = build_place(constants, ops), constants.row_bytes
    block_tiles = constants.block_tiles
    load = ops.load_shared_16 if block_tiles == 4 else ops.load_shared_8
    lane_shift = 0 if block_tiles == 4 else 1  # two lanes share a chunk

    def load_rows(words: Registers, tile: int, step: int, block: int) -> None:
        lane = thread_number() & 31
        chunk = block * block_tiles + ((lane & 3) >> lane_shift)
        start = tile + place(row_token(), chunk) + 8 * (lane & lane_shift) + step * row_bytes
        load(words, 0, start)
        load(words, block_tiles, start + 8 * row_bytes)  # the same swizzle

    return ops.device(load_rows)


def build_load_sums(constants: GradientConstants, ops: Operations) -> Operation:
    """Make `load_sums(sums, i, shared, part, block)`: a lane's channels of z, or of dz."""
    thread_number, warp_number, load = ops.thread_number, ops.warp_number, ops.load_shared_16
    head_dim, z_place = constants.head_dim, constants.z_start
    lane_channels, block_channels = 2 * constants.block_tiles, 8 * constants.block_tiles
    group_channels, channel_groups = constants.group_channels, constants.channel_groups
    loads = lane_channels // 4

    def load_sums(sums: Registers, i: int, shared: int, part: int, block: int) -> None:
        first = warp_number() % channel_groups * group_channels
        channel = first + block * block_channels + (thread_number() & 3) * lane_channels
        for j in range(loads):
            load(sums, i + 4 * j, shared + z_place + 4 * (part * head_dim + channel + 4 * j))

    return ops.device(load_sums)


def build_multiply_state(constants: GradientConstants, ops: Operations) -> Operation:
    """Make the product of a state with the tokens of a tile, t = state y."""
    cuda, uint32, float32, mma = ops.cuda, ops.uint32, ops.float32, ops.mma
    thread_number, warp_number, ldmatrix = ops.thread_number, ops.warp_number, ops.ldmatrix
    place, load_rows = build_place(constants, ops), build_load_rows(constants, ops)
    head_dim, row_bytes = constants.head_dim, constants.row_bytes
    parts = constants.features_per_channel
    block_tiles, channel_groups = constants.block_tiles, constants.channel_groups
    num_words, steps = 2 * block_tiles, block_tiles // 2
    blocks, group_tiles = head_dim // 8 // block_tiles, constants.group_channels // 8
    pairs, num_products = group_tiles // 2, 4 * parts * group_tiles

    def multiply_state(shared: int, tile: int, step: int, products: Registers) -> None:
        """Of 16 tokens and for the channels of this warp's group, divided by `back`."""
        words = cuda.local.array(num_words, uint32)
        rows = cuda.local.array(4, uint32)
        factors = cuda.local.array(4, uint32)
        lane = thread_number() & 31
        # Matrices 0 and 1 are two chunks of 8 features, 2 and 3 those of the next 8.
        row = (lane & 7) + ((lane >> 4) << 3)
        first = shared + 8 * group_tiles * (warp_number() % channel_groups) * row_bytes
        for i in range(num_products):
            products[i] = float32(0)
        for block in range(blocks):
            load_rows(words, tile, step, block)
            for k in range(steps):
                for word in range(2):
                    rows[2 * word] = words[2 * k + word]
                    rows[2 * word + 1] = words[block_tiles + 2 * k + word]
                chunk = first + place(row, block * block_tiles + 2 * k + ((lane >> 3) & 1))
                for part in range(parts):
                    for pair in range(pairs):
                        ldmatrix(factors, 0, chunk + (part * head_dim + 16 * pair) * row_bytes)
                        i = 4 * (part * group_tiles + 2 * pair)
                        mma(products, i, rows, 0, factors, 0)
                        mma(products, i + 4, rows, 0, factors, 2)

    return ops.device(multiply_state)


def build_dot_features(constants: GradientConstants, ops: Operations) -> Operation:
    """Make the step that gives phi(x).z of a lane's two rows, then phi(x).t."""
    cuda, uint32, float32 = ops.cuda, ops.uint32, ops.float32
    warp_number, shuffle_xor = ops.warp_number, ops.shuffle_xor
    row_token = build_row_token(constants, ops)
    low, high, store_shared = ops.low, ops.high, ops.store_shared
    load_rows, load_sums = build_load_rows(constants, ops), build_load_sums(constants, ops)
    feature_pair, parts = build_feature_pair(constants, ops), constants.features_per_channel
    block_tiles, channel_groups = constants.block_tiles, constants.channel_groups
    group_tiles = constants.group_channels // 8
    blocks, num_words = group_tiles // block_tiles, 2 * block_tiles
    dots_place, exchanges = constants.dots_start, channel_groups > 1

    def dot_features(
        shared: int, tile: int, step: int, products: Registers, dots: Registers
    ) -> None:
        """Over the channels of the group; for the other groups they are in shared memory."""
        words = cuda.local.array(num_words, uint32)
        sums = cuda.local.array(num_words, float32)
        group = warp_number() % channel_groups
        for i in range(4):
            dots[i] = float32(0)
        for block in range(blocks):
            load_rows(words, tile, step, group * blocks + block)
            for part in range(parts):
                load_sums(sums, 0, shared, part, block)
                for row in range(2):
                    for j in range(block_tiles):
                        word = feature_pair(words[row * block_tiles + j], part)
                        a, b = low(word), high(word)
                        i = 4 * (part * group_tiles + block * block_tiles + j) + 2 * row
                        dots[row] += a * sums[2 * j] + b * sums[2 * j + 1]
                        dots[2 + row] += a * products[i] + b * products[i + 1]
        for i in range(4):
            dots[i] += shuffle_xor(dots[i], 1)
            dots[i] += shuffle_xor(dots[i], 2)
        if exchanges:
            for i in range(4):
                number = 2 * (step + 8 * (i & 1) + row_token()) + (i >> 1)
                store_shared(shared + dots_place + 4 * (number * channel_groups + group), dots[i])

    return ops.device(dot_features)


def build_total_dots(constants: GradientConstants, ops: Operations) -> Operation:
    """Make the step that adds up what the groups of channels found, in order, after a barrier."""
    load_shared, float32 = ops.load_shared, ops.float32
    row_token = build_row_token(constants, ops)
    dots_place, channel_groups = constants.dots_start, constants.channel_groups

    def total_dots(shared: int, step: int, dots: Registers) -> None:
        for i in range(4):
            number = 2 * (step + 8 * (i & 1) + row_token()) + (i >> 1)
            dots[i] = float32(0)
            for group in range(channel_groups):
                at = shared + dots_place + 4 * (number * channel_groups + group)
                dots[i] += load_shared(at)

    def nothing(shared: int, step: int, dots: Registers) -> None:
        pass

    return ops.device(total_dots if channel_groups > 1 else nothing)
