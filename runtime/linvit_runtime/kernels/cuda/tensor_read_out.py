"""Steps of the second phase of the forward pass: the output of queries from S and z.

S, rounded to half precision, is B and stays in registers; phi(q) is A, 16 tokens at a time. The
denominator is one more product, whose B has z, divided by its sum: rounded in even columns, and in
odd ones what the rounding left. So every lane finds phi(q).z as the sum of two neighbouring results
of its own.

A lane has two adjacent columns of each C, that is 4 bytes of output, while memory is fast with
stores of 16 bytes. So the columns of S are permuted on their way into shared memory
(`build_state_place`). For a block of 4 tiles of 8 columns, C of tile j holds, in its columns 2t and
2t+1, the true columns 8t + 2j and 8t + 2j + 1 of the block, and lane t of 4 writes 8 neighbours::

    true column    0 1 | 2 3 | 4 5 | 6 7 | 8 9 | ...        lane t = 0 holds 0..7,
    is in tile      0     1     2     3     0               lane t = 1 holds 8..15, ...

A width with an odd number of such blocks uses blocks of 2 tiles and stores of 8 bytes.

Legend: g = lane / 4, t = lane % 4; tile as a stage of shared memory 64 tokens, as an operand of
`mma` 8 columns; chunk 16 bytes.
"""

from linvit_runtime.kernels.cuda.ptx_ops import Operation, Operations
from linvit_runtime.kernels.cuda.tensor_plan import TILE_TOKENS, TensorConstants
from linvit_runtime.kernels.cuda.tensor_state import build_sum_z
from linvit_runtime.kernels.cuda.tensor_steps import (
    Pointer,
    Registers,
    build_copy_tile,
    build_feature_pair,
    build_place,
    build_softmax_rows,
)


def _build_take_state(constants: TensorConstants, ops: Operations) -> Operation:
    thread_number, warp_number = ops.thread_number, ops.warp_number
    ldmatrix_trans, reciprocal = ops.ldmatrix_trans, ops.reciprocal
    sum_z = build_sum_z(constants, ops, constants.z_start)
    load_shared, pack, low, high, select = ops.load_shared, ops.pack, ops.low, ops.high, ops.select
    place, z_place, row_bytes = build_place(constants, ops), constants.z_start, constants.row_bytes
    column_groups, steps = constants.column_groups, constants.num_features // 16
    column_tiles = constants.head_dim // 8 // column_groups
    pairs = column_tiles // 2

    def take_state(shared: int, factors: Registers, z_factors: Registers) -> float:
        """Load this warp's columns of S as a factor, and z as one of two rounded terms.

        Returns what z is divided by.
        """
        z_back = sum_z(shared)
        to_half = reciprocal(z_back)
        lane = thread_number() & 31
        first_chunk = warp_number() % column_groups * column_tiles + (lane >> 4)
        for step in range(steps):
            for pair in range(pairs):
                chunk_place = shared + place(lane & 15, first_chunk + 2 * pair)
                i = 2 * (step * column_tiles + 2 * pair)
                ldmatrix_trans(factors, i, chunk_place + step * 16 * row_bytes)
            for word in range(2):
                at = shared + z_place + 4 * (16 * step + 8 * word + 2 * (lane & 3))
                a, b = load_shared(at) * to_half, load_shared(at + 4) * to_half
                rounded = pack(a, b)
                rest = pack(a - low(rounded), b - high(rounded))
                z_factors[2 * step + word] = select((lane & 4) != 0, rest, rounded)
        return z_back

    return ops.device(take_state)


def build_read_queries(constants: TensorConstants, ops: Operations) -> Operation:
    """Make the loop over tiles of queries; S and z are in shared memory by then."""
    cuda, uint32, take_state = ops.cuda, ops.uint32, _build_take_state(constants, ops)
    copy_tile, softmax_rows = build_copy_tile(constants, ops), build_softmax_rows(constants, ops)
    commit_copies, wait_for_copies = ops.commit_copies, ops.wait_for_copies
    wait_for_all_but_one, takes_softmax = (
        ops.wait_for_all_but_one,
        constants.feature_map == "softmax",
    )
    query_start, tile_bytes = constants.query_start, constants.tile_bytes
    steps = constants.num_features // 16
    num_factors = 2 * steps * (constants.head_dim // 8 // constants.column_groups)
    num_z_factors, read_tile = 2 * steps, _build_read_tile(constants, ops)

    def read_queries(
        shared: int, q: Pointer, q_start: int, q_token: int, num_tokens: int,
        out: Pointer, out_start: int, out_token: int, back: float, scaled_eps: float,
    ) -> None:  # fmt: skip
        """Stream the queries, whose first tile is on its way, and write their output."""
        factors = cuda.local.array(num_factors, uint32)
        z_factors = cuda.local.array(num_z_factors, uint32)
        z_back = take_state(shared, factors, z_factors)
        tokens_left, stage = num_tokens, 0
        while True:
            tile = shared + query_start + stage * tile_bytes
            if tokens_left > TILE_TOKENS:
                q_start += TILE_TOKENS * q_token
                stage = 1 - stage
                following = shared + query_start + stage * tile_bytes
                copy_tile(following, q, q_start, q_token, tokens_left - TILE_TOKENS)
                commit_copies()
                wait_for_all_but_one()
            else:
                wait_for_copies()
            cuda.syncthreads()
            if takes_softmax:
                softmax_rows(tile)
                cuda.syncthreads()
            read_tile(
                tile, tokens_left, factors, z_factors, out, out_start, out_token,
                back, z_back, scaled_eps,
            )  # fmt: skip
            cuda.syncthreads()
            out_start += TILE_TOKENS * out_token
            tokens_left -= TILE_TOKENS
            if tokens_left <= 0:
                break

    return ops.device(read_queries)


def _build_read_tile(constants: TensorConstants, ops: Operations) -> Operation:
    thread_number = ops.thread_number
    cuda, uint32, float32, mma = ops.cuda, ops.uint32, ops.float32, ops.mma
    ldmatrix, warp_number, reciprocal, pack = (
        ops.ldmatrix,
        ops.warp_number,
        ops.reciprocal,
        ops.pack,
    )
    place, feature_pair = build_place(constants, ops), build_feature_pair(constants, ops)
    column_groups, row_bytes = constants.column_groups, constants.row_bytes
    column_tiles = constants.head_dim // 8 // column_groups
    token_step = 16 * (constants.num_warps // column_groups)
    channel_blocks, parts = constants.head_dim // 16, constants.features_per_channel
    num_outputs, block_tiles = 4 * column_tiles, constants.block_tiles
    blocks = column_tiles // block_tiles
    store = ops.store_global_16 if block_tiles == 4 else ops.store_global_8

    def read_tile(
        queries: int, tokens_left: int, factors: Registers, z_factors: Registers,
        out: Pointer, out_start: int, out_token: int,
        back: float, z_back: float, scaled_eps: float,
    ) -> None:  # fmt: skip
        """Write S^T phi(q) / (phi(q).z + eps) of this warp's tokens and columns."""
        loaded = cuda.local.array(4, uint32)
        features = cuda.local.array(4, uint32)
        packed = cuda.local.array(block_tiles, uint32)
        outputs = cuda.local.array(num_outputs, float32)
        denominators = cuda.local.array(4, float32)
        lane = thread_number() & 31
        first_column = 8 * column_tiles * (warp_number() % column_groups)
        out_start += first_column + 2 * block_tiles * (lane & 3)
        end = min(TILE_TOKENS, tokens_left)
        step = 16 * (warp_number() // column_groups)
        while step < end:
            for i in range(num_outputs):
                outputs[i] = float32(0)
            for i in range(4):
                denominators[i] = float32(0)
            for block in range(channel_blocks):
                chunk_place = queries + place(lane & 15, 2 * block + (lane >> 4))
                ldmatrix(loaded, 0, chunk_place + step * row_bytes)
                for part in range(parts):
                    for word in range(4):
                        features[word] = feature_pair(loaded[word], part)
                    first = 2 * (part * channel_blocks + block)
                    for tile in range(column_tiles):
                        i = first * column_tiles + 2 * tile
                        mma(outputs, 4 * tile, features, 0, factors, i)
                    mma(denominators, 0, features, 0, z_factors, first)
            for lower in range(2):
                total = denominators[2 * lower] + denominators[2 * lower + 1]
                inverse = reciprocal(total * z_back + scaled_eps) * back
                token = step + 8 * lower + (lane >> 2)
                row_start = out_start + token * out_token
                for block in range(blocks):
                    for tile in range(block_tiles):
                        i = 4 * (block * block_tiles + tile) + 2 * lower
                        packed[tile] = pack(outputs[i] * inverse, outputs[i + 1] * inverse)
                    column = 8 * block_tiles * block
                    store(out, row_start + column, packed, 0, token < tokens_left)
            step += token_step

    return ops.device(read_tile)
