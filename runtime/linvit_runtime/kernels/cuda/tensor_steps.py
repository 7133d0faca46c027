"""Steps that the tensor-core kernels share: tiles of tokens in shared memory, and the feature maps.

Each builder makes an inlined function for one set of constants, out of the operations it is given:
those of PTX, or of the tests' emulator. Addresses count bytes of shared memory, offsets elements.

Legend: D head width; tile 64 tokens; chunk 16 bytes, 8 channels of one token.
"""

import math
from typing import Any

from linvit_runtime.kernels.cuda.ptx_ops import Operation, Operations
from linvit_runtime.kernels.cuda.tensor_plan import TILE_TOKENS, HeadConstants

Pointer = Any
"""A pointer to half-precision values as uint16, or to float32."""

Registers = Any
"""A `cuda.local.array` that is held in registers."""


def build_place(constants: HeadConstants, ops: Operations) -> Operation:
    """Make `place(row, chunk)`: where in a tile a chunk lies."""
    row_bytes = constants.row_bytes
    mask, shift = constants.swizzle_mask, constants.swizzle_shift

    def place(row: int, chunk: int) -> int:
        return row * row_bytes + ((chunk ^ ((row >> shift) & mask)) << 4)

    return ops.device(place)


def build_copy_tile(constants: HeadConstants, ops: Operations) -> Operation:
    """Make `copy_tile(tile, x, start, token_stride, tokens_left)`, which all threads call."""
    thread_number, copy_async_16 = ops.thread_number, ops.copy_async_16
    chunks, row_bytes = constants.head_dim // 8, constants.row_bytes
    rows = constants.num_threads // chunks
    passes = TILE_TOKENS // rows
    place = build_place(constants, ops)

    def copy_tile(tile: int, x: Pointer, start: int, token_stride: int, tokens_left: int) -> None:
        """Start copying a tile; rows past the last token become zeros, and nothing is read."""
        row = thread_number() // chunks
        chunk = thread_number() - row * chunks
        target = tile + place(row, chunk)
        source = start + row * token_stride + 8 * chunk
        for i in range(passes):
            copy_async_16(target, x, source, row + i * rows < tokens_left)
            target += rows * row_bytes  # a multiple of 16 rows: the same swizzle
            source += rows * token_stride

    return ops.device(copy_tile)


def build_feature_pair(constants: HeadConstants, ops: Operations) -> Operation:
    """Make `feature_pair(word, part)`: phi of two channels; `part` 1 is the half for -x.

    A softmax has been taken in place before, by `softmax_rows`.
    """
    relu, relu_of_negative, float32 = ops.relu, ops.relu_of_negative, ops.float32
    low, high, pack, select, exp2 = ops.low, ops.high, ops.pack, ops.select, ops.exp2
    log2_e = math.log2(math.e)

    def split_relu(word: Any, part: int) -> Any:
        return relu(word) if part == 0 else relu_of_negative(word)

    def relu_alone(word: Any, part: int) -> Any:
        return relu(word)

    def elu_plus_one(word: Any, part: int) -> Any:
        # The comparison is false for a NaN, and the exponential keeps it.
        a, b = low(word), high(word)
        a = select(a > float32(0), a + float32(1), exp2(a * float32(log2_e)))
        b = select(b > float32(0), b + float32(1), exp2(b * float32(log2_e)))
        return pack(a, b)

    def unchanged(word: Any, part: int) -> Any:
        return word

    by_name: dict[str, Operation] = {
        "split_relu": split_relu,
        "relu": relu_alone,
        "elu_plus_one": elu_plus_one,
        "softmax": unchanged,
        "identity": unchanged,
    }
    return ops.device(by_name[constants.feature_map])


def build_softmax_rows(constants: HeadConstants, ops: Operations) -> Operation:
    """Make `softmax_rows(tile)`: softmax over the channels of each token of a tile, in place.

    A row is the work of two or four neighbouring lanes. The caller puts barriers around it. For the
    other feature maps it does nothing.
    """
    cuda, float32, uint32 = ops.cuda, ops.float32, ops.uint32
    load_shared_16, store_shared_16 = ops.load_shared_16, ops.store_shared_16
    low, high, pack, maximum = ops.low, ops.high, ops.pack, ops.maximum
    exp2, reciprocal, shuffle_xor = ops.exp2, ops.reciprocal, ops.shuffle_xor
    thread_number, warp_number = ops.thread_number, ops.warp_number
    place = build_place(constants, ops)
    num_warps, log2_e = constants.num_warps, math.log2(math.e)
    lanes = 4 if constants.head_dim % 32 == 0 else 2
    lane_mask, lane_shift, block_rows = lanes - 1, lanes // 2, 32 // lanes
    chunks = constants.head_dim // 8 // lanes
    num_words, num_channels, num_blocks = 4 * chunks, 8 * chunks, TILE_TOKENS // block_rows

    def softmax_rows(tile: int) -> None:
        words = cuda.local.array(num_words, uint32)
        x = cuda.local.array(num_channels, float32)
        lane = thread_number() & 31
        block = warp_number()
        while block < num_blocks:
            row = block_rows * block + (lane >> lane_shift)
            first_chunk = (lane & lane_mask) * chunks
            largest = float32(-math.inf)
            for i in range(chunks):
                load_shared_16(words, 4 * i, tile + place(row, first_chunk + i))
            for i in range(num_words):
                x[2 * i] = low(words[i])
                x[2 * i + 1] = high(words[i])
                largest = maximum(largest, maximum(x[2 * i], x[2 * i + 1]))
            for i in range(lane_shift):
                largest = maximum(largest, shuffle_xor(largest, 1 << i))
            total = float32(0)
            for i in range(num_channels):
                x[i] = exp2((x[i] - largest) * float32(log2_e))
                total += x[i]
            for i in range(lane_shift):
                total += shuffle_xor(total, 1 << i)
            inverse = reciprocal(total)
            for i in range(num_words):
                words[i] = pack(x[2 * i] * inverse, x[2 * i + 1] * inverse)
            for i in range(chunks):
                store_shared_16(tile + place(row, first_chunk + i), words, 4 * i)
            block += num_warps

    def nothing(tile: int) -> None:
        pass

    return ops.device(softmax_rows if constants.feature_map == "softmax" else nothing)


def build_state_place(constants: HeadConstants, ops: Operations, block_tiles: int) -> Operation:
    """Make `state_place(feature, pair)`: where two adjacent true columns of S lie in shared."""
    place = build_place(constants, ops)
    block_pairs = 4 * block_tiles

    def state_place(feature: int, pair: int) -> int:
        block = pair // block_pairs
        inside = pair - block * block_pairs
        lane_of_4 = inside // block_tiles
        tile = inside - lane_of_4 * block_tiles
        return place(feature, block * block_tiles + tile) + 4 * lane_of_4

    return ops.device(state_place)


def build_put_row(constants: HeadConstants, ops: Operations, block_tiles: int) -> Operation:
    """Make `put_row(shared, row, sums, first, factor)`: a lane's columns of a row of S.

    They are `sums[first]` and the next, of each tile of C, times `factor`. In blocks of 4 tiles
    they are 16 adjacent bytes of shared memory per block.
    """
    cuda, uint32, thread_number = ops.cuda, ops.uint32, ops.thread_number
    pack, store_shared_word, store_shared_16 = ops.pack, ops.store_shared_word, ops.store_shared_16
    place = build_place(constants, ops)
    state_place = build_state_place(constants, ops, block_tiles)
    tiles = constants.head_dim // 8
    blocks = tiles // 4

    def in_blocks(shared: int, row: int, sums: Registers, first: int, factor: float) -> None:
        words = cuda.local.array(4, uint32)
        for block in range(blocks):
            for tile in range(4):
                i = first + 4 * (4 * block + tile)
                words[tile] = pack(sums[i] * factor, sums[i + 1] * factor)
            store_shared_16(shared + place(row, 4 * block + (thread_number() & 3)), words, 0)

    def in_pairs(shared: int, row: int, sums: Registers, first: int, factor: float) -> None:
        for tile in range(tiles):
            i = first + 4 * tile
            at = shared + state_place(row, 4 * tile + (thread_number() & 3))
            store_shared_word(at, pack(sums[i] * factor, sums[i + 1] * factor))

    return ops.device(in_blocks if block_tiles == 4 else in_pairs)
