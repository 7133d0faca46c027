"""Steps of the first phase of the forward pass: S and z as products of keys and values.

Warp w owns 16 channels of k, with split_relu both features of each, and sums in float32::

               tokens (16 at a time)            columns of v
             +----------------------+        +---+---+---+---+           +---+---+---+---+
    channels |  phi(k)^T: A         |   x    |   v: B        |  tokens = |   S: C        | channels
    16w..+15 +----------------------+        +---+---+---+---+           +---+---+---+---+
             ldmatrix_trans of the tile      ldmatrix_trans of the tile   8 columns per mma

z is one more product, with a B of ones: its sums are float32 too. Rows that only pad the last tile
are zeros; where phi(0) is not zero, their ones are zeros as well.

Legend: g = lane / 4, t = lane % 4; tile as a stage of shared memory 64 tokens, as an operand of
`mma` 8 columns; chunk 16 bytes.
"""

from linvit_runtime.kernels.cuda.ptx_ops import Operation, Operations
from linvit_runtime.kernels.cuda.tensor_plan import TILE_TOKENS, HeadConstants, TensorConstants
from linvit_runtime.kernels.cuda.tensor_state import (
    LARGEST,
    build_larger_size,
    build_largest_of_all,
)
from linvit_runtime.kernels.cuda.tensor_steps import (
    Pointer,
    Registers,
    build_copy_tile,
    build_feature_pair,
    build_place,
    build_put_row,
    build_softmax_rows,
)


def build_sum_keys(constants: TensorConstants, ops: Operations) -> Operation:
    """Make the loop over tiles of keys and values."""
    cuda, float32, add_tile = ops.cuda, ops.float32, _build_add_tile(constants, ops)
    copy_tile, softmax_rows = build_copy_tile(constants, ops), build_softmax_rows(constants, ops)
    commit_copies, wait_for_copies = ops.commit_copies, ops.wait_for_copies
    wait_for_all_but_one, takes_softmax = (
        ops.wait_for_all_but_one,
        constants.feature_map == "softmax",
    )
    num_sums, num_z_sums = constants.num_sums, 4 * constants.features_per_channel
    tile_bytes, stage_bytes = constants.tile_bytes, 2 * constants.tile_bytes

    def sum_keys(
        shared: int, k: Pointer, k_start: int, k_token: int,
        v: Pointer, v_start: int, v_token: int, num_tokens: int,
        sums: Registers, z_sums: Registers,
    ) -> None:  # fmt: skip
        """Stream the keys and values through two stages; all have been read when it returns."""
        for i in range(num_sums):
            sums[i] = float32(0)
        for i in range(num_z_sums):
            z_sums[i] = float32(0)
        copy_tile(shared, k, k_start, k_token, num_tokens)
        copy_tile(shared + tile_bytes, v, v_start, v_token, num_tokens)
        commit_copies()
        tokens_left, stage = num_tokens, 0
        while True:
            tile = shared + stage * stage_bytes
            if tokens_left > TILE_TOKENS:
                k_start += TILE_TOKENS * k_token
                v_start += TILE_TOKENS * v_token
                stage = 1 - stage
                following = shared + stage * stage_bytes
                copy_tile(following, k, k_start, k_token, tokens_left - TILE_TOKENS)
                copy_tile(following + tile_bytes, v, v_start, v_token, tokens_left - TILE_TOKENS)
                commit_copies()
                wait_for_all_but_one()
            else:
                wait_for_copies()
            cuda.syncthreads()
            if takes_softmax:
                softmax_rows(tile)
                cuda.syncthreads()
            add_tile(tile, tile + tile_bytes, tokens_left, sums, z_sums)
            cuda.syncthreads()
            tokens_left -= TILE_TOKENS
            if tokens_left <= 0:
                break

    return ops.device(sum_keys)


def _build_add_tile(constants: TensorConstants, ops: Operations) -> Operation:
    cuda, uint32, float32, mma = ops.cuda, ops.uint32, ops.float32, ops.mma
    thread_number, warp_number = ops.thread_number, ops.warp_number
    ldmatrix_trans, ones = ops.ldmatrix_trans, ops.ones
    select, pack, masked = ops.select, ops.pack, constants.zero_has_features
    place, feature_pair = build_place(constants, ops), build_feature_pair(constants, ops)
    parts = constants.features_per_channel
    value_tiles = constants.head_dim // 8
    row_bytes, num_words, pairs = constants.row_bytes, 2 * value_tiles, value_tiles // 2

    def add_tile(
        keys: int, values: int, tokens_left: int, sums: Registers, z_sums: Registers
    ) -> None:
        """Add phi(k) v^T and phi(k) of a tile's tokens to this warp's sums."""
        loaded = cuda.local.array(4, uint32)
        features = cuda.local.array(4, uint32)
        factors = cuda.local.array(num_words, uint32)
        counted = cuda.local.array(2, uint32)
        lane = thread_number() & 31
        # Rows and chunks that ldmatrix wants of this lane; the matrices of A come in another order.
        key_row = (lane & 7) + ((lane >> 4) << 3)
        key_place = keys + place(key_row, 2 * warp_number() + ((lane >> 3) & 1))
        counted[0] = ones()
        counted[1] = ones()
        end = min(TILE_TOKENS, tokens_left)
        step = 0
        while step < end:
            offset = step * row_bytes
            ldmatrix_trans(loaded, 0, key_place + offset)
            for pair in range(pairs):
                value_place = values + place(lane & 15, 2 * pair + (lane >> 4))
                ldmatrix_trans(factors, 4 * pair, value_place + offset)
            if masked:
                for word in range(2):
                    token = step + 2 * (lane & 3) + 8 * word
                    a = select(token < tokens_left, float32(1), float32(0))
                    b = select(token + 1 < tokens_left, float32(1), float32(0))
                    counted[word] = pack(a, b)
            for part in range(parts):
                for word in range(4):
                    features[word] = feature_pair(loaded[word], part)
                for tile in range(value_tiles):
                    mma(sums, 4 * (part * value_tiles + tile), features, 0, factors, 2 * tile)
                mma(z_sums, 4 * part, features, 0, counted, 0)
            step += 16

    return ops.device(add_tile)


def build_put_state(
    constants: TensorConstants, ops: Operations, to_shared: bool, to_global: bool
) -> Operation:
    """Make `put_state`, which ends the first phase; z goes to shared memory in any case."""
    reciprocal, float32 = ops.reciprocal, ops.float32
    larger_size = build_larger_size(ops)
    largest_of_all = build_largest_of_all(constants, ops, constants.largest_start)
    thread_number, warp_number, select = ops.thread_number, ops.warp_number, ops.select
    store_shared = ops.store_shared
    store_global_2, put_row = (
        ops.store_global_2,
        build_put_row(constants, ops, constants.block_tiles),
    )
    head_dim, parts = constants.head_dim, constants.features_per_channel
    z_place, num_sums = constants.z_start, constants.num_sums
    value_tiles = head_dim // 8

    def put_state(
        shared: int, sums: Registers, z_sums: Registers, scale: float,
        S: Pointer, S_start: int,
    ) -> float:  # fmt: skip
        """Scale the sums, and leave S in shared memory as a factor, in global memory or both.

        Returns `back`, where S is in shared memory.
        """
        largest = float32(0)
        if to_shared:
            for i in range(num_sums):
                largest = larger_size(largest, sums[i])
            largest = largest_of_all(shared, largest)
        to_half = float32(LARGEST) * reciprocal(largest)
        lane = thread_number() & 31
        first_feature = 16 * warp_number()
        for part in range(parts):
            for lower in range(2):
                feature = part * head_dim + first_feature + 8 * lower + (lane >> 2)
                first = 4 * part * value_tiles + 2 * lower
                if to_shared:
                    put_row(shared, feature, sums, first, to_half)
                if to_global:
                    for tile in range(value_tiles):
                        i = first + 4 * tile
                        at = S_start + feature * head_dim + 8 * tile + 2 * (lane & 3)
                        store_global_2(S, at, sums[i] * scale, sums[i + 1] * scale, True)
        # All columns of z's C are equal. Lane t of 4 writes the upper rows where t is even, the
        # lower ones where it is odd, and, if there are two parts, the second one from t = 2 on.
        is_lower = (lane & 1) != 0
        feature = first_feature + ((lane & 1) << 3) + (lane >> 2)
        value = select(is_lower, z_sums[2], z_sums[0])
        if parts == 2:
            second = (lane & 2) != 0
            value = select(second, select(is_lower, z_sums[6], z_sums[4]), value)
            feature += ((lane & 2) >> 1) * head_dim
        store_shared(shared + z_place + 4 * feature, value * scale)
        return largest * scale * float32(1 / LARGEST)

    return ops.device(put_state)


def build_write_z(constants: HeadConstants, ops: Operations, z_place: int) -> Operation:
    """Make `write_z(shared, z, z_start)`."""
    thread_number, select = ops.thread_number, ops.select
    load_shared, store_global_2 = ops.load_shared, ops.store_global_2
    num_features = constants.num_features

    def write_z(shared: int, z: Pointer, z_start: int) -> None:
        """Write z from shared to global memory; there are threads enough for all pairs."""
        feature = 2 * thread_number()
        valid = feature < num_features
        place = shared + z_place + 4 * select(valid, feature, 0)
        a, b = load_shared(place), load_shared(place + 4)
        store_global_2(z, z_start + feature, a, b, valid)

    return ops.device(write_z)
