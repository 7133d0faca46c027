"""Steps of the tensor-core backward pass around a state: S, and its gradient, summed over queries.

With r and s of `tensor_gradients.py`, the gradients are sums over the queries of a head::

    dS = sum_n (r phi(q))_n dout_n^T        dz = -sum_n s_n (r phi(q))_n

Warp w owns 16 channels of q with all their features, as in `tensor_sums.py`: r phi(q) is A, rounded
to half precision, and dout is B. dz is added up in float32 beside it.

Half precision needs care, because float16 has few small numbers and no large ones:

* r phi(q) is multiplied by Z = sum_f |z_f|. Its average, weighted by z, is then 1, however long the
  vectors are. A feature that the keys hardly have may be more than float16 holds, and is cut off.
* dS is rounded as `tensor_state.py` says.

Legend: c the scale; g = lane / 4, t = lane % 4; tile as a stage of shared memory 64 tokens, as an
operand of `mma` 8 columns; chunk 16 bytes.
"""

from linvit_runtime.kernels.cuda.ptx_ops import Operation, Operations
from linvit_runtime.kernels.cuda.tensor_gradient_plan import GradientConstants
from linvit_runtime.kernels.cuda.tensor_plan import TILE_TOKENS
from linvit_runtime.kernels.cuda.tensor_state import (
    LARGEST,
    build_larger_size,
    build_largest_of_all,
)
from linvit_runtime.kernels.cuda.tensor_steps import (
    Pointer,
    Registers,
    build_feature_pair,
    build_place,
    build_put_row,
    build_state_place,
)

_LARGEST_FLOAT16 = 65504.0


def _build_permuted_row(constants: GradientConstants, ops: Operations) -> Operation:
    """Make `permuted_row(feature)`: rows of a state are permuted as columns are."""
    lane_channels, block_channels = 2 * constants.block_tiles, 8 * constants.block_tiles

    def permuted_row(feature: int) -> int:
        block = feature // block_channels
        inside = feature - block * block_channels
        lane_of_4 = inside // lane_channels
        channel = inside - lane_of_4 * lane_channels
        return block * block_channels + 8 * (channel >> 1) + 2 * lane_of_4 + (channel & 1)

    return ops.device(permuted_row)


def build_permuted_place(constants: GradientConstants, ops: Operations) -> Operation:
    """Make `place(feature, pair)`: where two true columns of a row lie."""
    state_place = build_state_place(constants, ops, constants.block_tiles)
    permuted_row = _build_permuted_row(constants, ops)

    def permuted_place(feature: int, pair: int) -> int:
        return state_place(permuted_row(feature), pair)

    return ops.device(permuted_place)


def build_add_tile(constants: GradientConstants, ops: Operations) -> Operation:
    """Make the step that adds a tile to the gradients of S and z."""
    cuda, uint32, float32, mma = ops.cuda, ops.uint32, ops.float32, ops.mma
    thread_number, warp_number = ops.thread_number, ops.warp_number
    ldmatrix_trans, load_shared = ops.ldmatrix_trans, ops.load_shared
    low, high, pack, maximum = ops.low, ops.high, ops.pack, ops.maximum
    place, feature_pair = build_place(constants, ops), build_feature_pair(constants, ops)
    parts, row_bytes = constants.features_per_channel, constants.row_bytes
    value_tiles = constants.head_dim // 8
    num_words, pairs = 2 * value_tiles, value_tiles // 2
    weights_place, slopes_place = constants.weights_start, constants.slopes_start
    is_bounded = constants.half_type == "float16"
    is_signed = constants.feature_map == "identity"

    def add_tile(
        shared: int, queries: int, grad_outs: int, tokens_left: int,
        sums: Registers, z_sums: Registers,
    ) -> None:  # fmt: skip
        loaded = cuda.local.array(4, uint32)
        features = cuda.local.array(4, uint32)
        factors = cuda.local.array(num_words, uint32)
        weights = cuda.local.array(4, float32)
        slopes = cuda.local.array(4, float32)
        lane = thread_number() & 31
        # Rows and chunks that ldmatrix wants of this lane; the matrices of A come in another order.
        query_row = (lane & 7) + ((lane >> 4) << 3)
        query_place = queries + place(query_row, 2 * warp_number() + ((lane >> 3) & 1))
        end = min(TILE_TOKENS, tokens_left)
        step = 0
        while step < end:
            offset = step * row_bytes
            ldmatrix_trans(loaded, 0, query_place + offset)
            for pair in range(pairs):
                at = grad_outs + place(lane & 15, 2 * pair + (lane >> 4))
                ldmatrix_trans(factors, 4 * pair, at + offset)
            for i in range(4):
                token = step + 2 * (lane & 3) + (i & 1) + 8 * (i >> 1)
                weights[i] = load_shared(shared + weights_place + 4 * token)
                slopes[i] = load_shared(shared + slopes_place + 4 * token)
            for part in range(parts):
                for word in range(4):
                    pair_of_features = feature_pair(loaded[word], part)
                    first = word >> 1 << 1  # words 0 and 1 are two tokens, 2 and 3 two others
                    a = low(pair_of_features) * weights[first]
                    b = high(pair_of_features) * weights[first + 1]
                    if is_bounded:
                        a = -maximum(-a, float32(-_LARGEST_FLOAT16))
                        b = -maximum(-b, float32(-_LARGEST_FLOAT16))
                    if is_bounded and is_signed:
                        a = maximum(a, float32(-_LARGEST_FLOAT16))
                        b = maximum(b, float32(-_LARGEST_FLOAT16))
                    z_sums[2 * part + (word & 1)] -= a * slopes[first] + b * slopes[first + 1]
                    features[word] = pack(a, b)
                for tile in range(value_tiles):
                    mma(sums, 4 * (part * value_tiles + tile), features, 0, factors, 2 * tile)
            step += 16

    return ops.device(add_tile)


def build_put_state_gradient(
    constants: GradientConstants, ops: Operations, to_global: bool
) -> Operation:
    """Make the step that leaves the gradients of S and z where they are read next."""
    thread_number, warp_number = ops.thread_number, ops.warp_number
    reciprocal, float32, store_shared = ops.reciprocal, ops.float32, ops.store_shared
    store_global_2, shuffle_xor = ops.store_global_2, ops.shuffle_xor
    put_row = build_put_row(constants, ops, constants.block_tiles)
    permuted_row = _build_permuted_row(constants, ops)
    larger_size = build_larger_size(ops)
    largest_of_all = build_largest_of_all(constants, ops, constants.largest_start)
    head_dim, parts, num_sums = (
        constants.head_dim,
        constants.features_per_channel,
        constants.num_sums,
    )
    num_z_sums, value_tiles, z_place = 2 * parts, head_dim // 8, constants.z_start

    def put_state_gradient(
        shared: int, sums: Registers, z_sums: Registers, factor: float, S: Pointer, S_start: int
    ) -> float:
        """Multiply by `factor`; S to global or shared memory, z to shared. Returns `back`.

        A barrier must follow.
        """
        lane = thread_number() & 31
        first_feature = 16 * warp_number()
        largest = float32(0)
        if not to_global:
            for i in range(num_sums):
                largest = larger_size(largest, sums[i])
            largest = largest_of_all(shared, largest)
        to_half = float32(LARGEST) * reciprocal(largest)
        for part in range(parts):
            for lower in range(2):
                feature = part * head_dim + first_feature + 8 * lower + (lane >> 2)
                first = 4 * part * value_tiles + 2 * lower
                if to_global:
                    for tile in range(value_tiles):
                        i = first + 4 * tile
                        at = S_start + feature * head_dim + 8 * tile + 2 * (lane & 3)
                        store_global_2(S, at, sums[i] * factor, sums[i + 1] * factor, True)
                else:
                    put_row(shared, permuted_row(feature), sums, first, to_half)
        for i in range(num_z_sums):
            total = z_sums[i] + shuffle_xor(z_sums[i], 1)
            total += shuffle_xor(total, 2)
            feature = (i >> 1) * head_dim + first_feature + 8 * (i & 1) + (lane >> 2)
            store_shared(shared + z_place + 4 * feature, total * factor)
        return largest * factor * float32(1 / LARGEST)

    return ops.device(put_state_gradient)
