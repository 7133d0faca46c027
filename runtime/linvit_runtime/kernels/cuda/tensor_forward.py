"""The forward pass on tensor cores, in bfloat16 and float16, as Numba-CUDA kernels.

One CTA computes one batch element and head, in two phases. It streams tiles of 64 keys and values
through shared memory and sums S = c sum_j phi(k_j) v_j^T in registers, in float32; then it rounds S
to half precision, keeps it in registers as the right factor, streams tiles of queries and divides.
Where heads are few and tokens are many the phases are kernels of their own, each over parts of the
tokens, with a third that adds up the parts of S and z in order: no two CTAs add into one place.
The steps are shared, as inlined functions. `ptx_ops.py` describes the operations and fragments.

Sums: warp w owns 16 channels of k, and with split_relu both features of each::

               tokens (16 at a time)            columns of v
             +----------------------+        +---+---+---+---+           +---+---+---+---+
    channels |  phi(k)^T: A         |   x    |   v: B        |  tokens = |   S: C        | channels
    16w..+15 +----------------------+        +---+---+---+---+           +---+---+---+---+
             ldmatrix_trans of the tile      ldmatrix_trans of the tile   8 columns per mma

z is one more product, with a B of ones: its sums are float32 too. Rows that only pad the last tile
are zeros; where phi(0) is not zero, their ones are zeros as well.

Read-out: S, now of half precision, is B, and phi(q) is A, 16 tokens at a time. The denominator is
one more product, whose B has z rounded in even columns and what the rounding left in odd ones; so
every lane finds phi(q).z as the sum of two neighbouring results of its own.

Permuted columns. A lane has two adjacent columns of each C, that is 4 bytes of output, while memory
is fast with stores of 16 bytes. So the columns of S are permuted as they are put into shared memory.
For a block of 4 tiles of 8 columns, C of tile j holds, in its columns 2t and 2t+1, the true columns
8t + 2j and 8t + 2j + 1 of the block, and lane t of 4 writes 8 adjacent columns::

    true column    0 1 | 2 3 | 4 5 | 6 7 | 8 9 | ...        lane t = 0 holds 0..7,
    is in tile      0     1     2     3     0               lane t = 1 holds 8..15, ...

A width with an odd number of such blocks uses blocks of 2 tiles and stores of 8 bytes.

Swizzle. Chunk c of row r, 16 bytes, lies in place c ^ swizzle(r) of the row, so that neither copies
nor ldmatrix meet in a bank; see tensor_plan.py. The swizzle repeats after 16 rows at most.

Legend: D head width, F features per head, c the scale; g = lane / 4, t = lane % 4; tile as an
operand of `mma` 8 columns, as a stage of shared memory 64 tokens; chunk 16 bytes.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from linvit_runtime.kernels.cuda.kernel import ArgumentKind, Kernel
from linvit_runtime.kernels.cuda.ptx_ops import MIN_CAPABILITY, Operation, Operations, operations
from linvit_runtime.kernels.cuda.tensor_plan import TILE_TOKENS, TensorConstants, TensorPlan
from linvit_runtime.kernels.cuda.tensor_steps import (
    Pointer,
    Registers,
    build_copy_tile,
    build_feature_pair,
    build_place,
    build_softmax_rows,
)

_STRIDES = ("batch", "token", "head")
_KINDS: dict[str, ArgumentKind] = {
    **dict.fromkeys(("q", "k", "v", "out"), "pointer16"),
    **dict.fromkeys(("S", "z", "S_parts", "z_parts"), "float_pointer"),
    **dict.fromkeys(("scale", "scaled_eps"), "float32"),
}


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a pass.

    Attributes:
        kernel: What to launch.
        grid: How many CTAs, along x, y and z.
        arguments: The kernel's arguments by name, in order; see tensor_plan.py.
    """

    kernel: Kernel
    grid: tuple[int, int, int]
    arguments: tuple[str, ...]


def forward_launches(plan: TensorPlan) -> tuple[Launch, ...]:
    """The launches of a forward pass, in order."""
    constants, heads = plan.constants, plan.batch_heads
    if not plan.is_split:
        kernel, names = forward_kernel(constants)
        return (Launch(kernel, (heads, 1, 1), names),)
    sums, sums_names = sums_kernel(constants)
    total, total_names = total_kernel(constants)
    read_out, read_out_names = read_out_kernel(constants)
    return (
        Launch(sums, (heads, plan.key_parts, 1), sums_names),
        Launch(total, (heads, _total_blocks(constants) + 1, 1), total_names),
        Launch(read_out, (heads, plan.query_parts, 1), read_out_names),
    )


def _strided(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{stride}" for stride in _STRIDES)


def _kernel(
    constants: TensorConstants, step: str, body: Callable[..., None], names: tuple[str, ...]
) -> tuple[Kernel, tuple[str, ...]]:
    state = "_with_state" if constants.save_state and step == "forward" else ""
    kernel = Kernel(
        name=f"tensor_{step}_{constants.feature_map}_{constants.half_type}"
        f"_{constants.head_dim}{state}",
        body=body,
        arguments=tuple(_KINDS.get(name, "int64") for name in names),
        threads=constants.num_threads,
        shared_bytes=constants.shared_bytes,
        min_capability=MIN_CAPABILITY,
    )
    return kernel, names


@functools.cache
def forward_kernel(constants: TensorConstants) -> tuple[Kernel, tuple[str, ...]]:
    """The kernel for whole heads, and its arguments' names; its grid is (B H, 1, 1)."""
    body = build_forward(constants, operations(constants.half_type))
    state = ("S", "z") if constants.save_state else ("k", "k")  # never written, of any address
    names = ("q", "k", "v", "out", *state, "num_queries", "num_keys", "num_heads")
    names += (*_strided("q"), *_strided("k"), *_strided("v"), "scale", "scaled_eps")
    return _kernel(constants, "forward", body, names)


@functools.cache
def sums_kernel(constants: TensorConstants) -> tuple[Kernel, tuple[str, ...]]:
    """S and z of parts of the keys; its grid is (B H, key_parts, 1)."""
    body = build_sums(constants, operations(constants.half_type))
    names = ("k", "v", "S_parts", "z_parts", "num_keys", "num_heads", "key_part_tokens")
    names += (*_strided("k"), *_strided("v"), "scale")
    return _kernel(constants, "sums", body, names)


@functools.cache
def total_kernel(constants: TensorConstants) -> tuple[Kernel, tuple[str, ...]]:
    """Adds up the parts of S and z; its grid is (B H, blocks of S + 1 for z, 1)."""
    body = build_total(constants, operations(constants.half_type))
    names = ("S_parts", "z_parts", "S", "z", "key_parts")
    return _kernel(constants, "total", body, names)


@functools.cache
def read_out_kernel(constants: TensorConstants) -> tuple[Kernel, tuple[str, ...]]:
    """The output of parts of the queries from S and z; its grid is (B H, query_parts, 1)."""
    body = build_read_out(constants, operations(constants.half_type))
    names = ("q", "S", "z", "out", "num_queries", "num_heads", "query_part_tokens")
    names += (*_strided("q"), "scaled_eps")
    return _kernel(constants, "read_out", body, names)


# The bodies.


def build_forward(constants: TensorConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `forward_kernel`."""
    cuda, shared_address, uint32, float32 = ops.cuda, ops.shared_address, ops.uint32, ops.float32
    head_dim, num_features = constants.head_dim, constants.num_features
    num_sums, num_z_sums = _num_sums(constants), 4 * constants.features_per_channel
    save_state = constants.save_state
    sum_keys, copy_tile = _build_sum_keys(constants, ops), build_copy_tile(constants, ops)
    put_state = _build_put_state(constants, ops, to_shared=True, to_global=save_state)
    write_z, read_queries = _build_write_z(constants, ops), _build_read_queries(constants, ops)
    query_start, commit_copies = constants.query_start, ops.commit_copies

    def tensor_forward(
        q: Pointer, k: Pointer, v: Pointer, out: Pointer, S: Pointer, z: Pointer,
        num_queries: int, num_keys: int, num_heads: int,
        q_batch: int, q_token: int, q_head: int,
        k_batch: int, k_token: int, k_head: int,
        v_batch: int, v_token: int, v_head: int,
        scale: float, scaled_eps: float,
    ) -> None:  # fmt: skip
        shared = shared_address(cuda.shared.array(0, uint32, alignment=128))
        sums = cuda.local.array(num_sums, float32)
        z_sums = cuda.local.array(num_z_sums, float32)
        head_index = cuda.blockIdx.x
        batch = head_index // num_heads
        head = head_index - batch * num_heads
        k_start = batch * k_batch + head * k_head
        v_start = batch * v_batch + head * v_head
        q_start = batch * q_batch + head * q_head
        sum_keys(shared, k, k_start, k_token, v, v_start, v_token, num_keys, sums, z_sums)
        copy_tile(shared + query_start, q, q_start, q_token, num_queries)
        commit_copies()
        put_state(shared, sums, z_sums, scale, S, head_index * num_features * head_dim)
        cuda.syncthreads()
        if save_state:
            write_z(shared, z, head_index * num_features)
        row = num_heads * head_dim
        out_start = batch * num_queries * row + head * head_dim
        read_queries(shared, q, q_start, q_token, num_queries, out, out_start, row, scaled_eps)

    return tensor_forward


def build_sums(constants: TensorConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `sums_kernel`."""
    cuda, shared_address, uint32, float32 = ops.cuda, ops.shared_address, ops.uint32, ops.float32
    head_dim, num_features = constants.head_dim, constants.num_features
    num_sums, num_z_sums = _num_sums(constants), 4 * constants.features_per_channel
    sum_keys, write_z = _build_sum_keys(constants, ops), _build_write_z(constants, ops)
    put_state = _build_put_state(constants, ops, to_shared=False, to_global=True)

    def tensor_sums(
        k: Pointer, v: Pointer, S_parts: Pointer, z_parts: Pointer,
        num_keys: int, num_heads: int, part_tokens: int,
        k_batch: int, k_token: int, k_head: int,
        v_batch: int, v_token: int, v_head: int,
        scale: float,
    ) -> None:  # fmt: skip
        shared = shared_address(cuda.shared.array(0, uint32, alignment=128))
        sums = cuda.local.array(num_sums, float32)
        z_sums = cuda.local.array(num_z_sums, float32)
        batch = cuda.blockIdx.x // num_heads
        head = cuda.blockIdx.x - batch * num_heads
        first = cuda.blockIdx.y * part_tokens
        k_start = batch * k_batch + head * k_head + first * k_token
        v_start = batch * v_batch + head * v_head + first * v_token
        num_tokens = min(part_tokens, num_keys - first)
        sum_keys(shared, k, k_start, k_token, v, v_start, v_token, num_tokens, sums, z_sums)
        part = cuda.blockIdx.x * cuda.gridDim.y + cuda.blockIdx.y
        put_state(shared, sums, z_sums, scale, S_parts, part * num_features * head_dim)
        cuda.syncthreads()
        write_z(shared, z_parts, part * num_features)

    return tensor_sums


def build_read_out(constants: TensorConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `read_out_kernel`."""
    cuda, shared_address, uint32 = ops.cuda, ops.shared_address, ops.uint32
    head_dim, num_features = constants.head_dim, constants.num_features
    query_start, commit_copies = constants.query_start, ops.commit_copies
    copy_tile, read_queries = build_copy_tile(constants, ops), _build_read_queries(constants, ops)
    fetch_state = _build_fetch_state(constants, ops)

    def tensor_read_out(
        q: Pointer, S: Pointer, z: Pointer, out: Pointer,
        num_queries: int, num_heads: int, part_tokens: int,
        q_batch: int, q_token: int, q_head: int,
        scaled_eps: float,
    ) -> None:  # fmt: skip
        shared = shared_address(cuda.shared.array(0, uint32, alignment=128))
        batch = cuda.blockIdx.x // num_heads
        head = cuda.blockIdx.x - batch * num_heads
        first = cuda.blockIdx.y * part_tokens
        num_tokens = min(part_tokens, num_queries - first)
        q_start = batch * q_batch + head * q_head + first * q_token
        copy_tile(shared + query_start, q, q_start, q_token, num_tokens)
        commit_copies()
        z_start = cuda.blockIdx.x * num_features
        fetch_state(shared, S, z_start * head_dim, z, z_start)
        cuda.syncthreads()
        row = num_heads * head_dim
        out_start = (batch * num_queries + first) * row + head * head_dim
        read_queries(shared, q, q_start, q_token, num_tokens, out, out_start, row, scaled_eps)

    return tensor_read_out


def _total_blocks(constants: TensorConstants) -> int:
    """CTAs that add up S, a pair of elements per thread."""
    pairs = constants.num_features * constants.head_dim // 2
    return -(-pairs // constants.num_threads)


def build_total(constants: TensorConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `total_kernel`."""
    cuda, float32, select = ops.cuda, ops.float32, ops.select
    load_global_2, store_global_2 = ops.load_global_2, ops.store_global_2
    num_features, num_threads = constants.num_features, constants.num_threads
    S_size, S_blocks = num_features * constants.head_dim, _total_blocks(constants)

    def add_parts(parts: Pointer, total: Pointer, size: int, block: int, num_parts: int) -> None:
        sums = cuda.local.array(2, float32)
        part = cuda.local.array(2, float32)
        element = 2 * (block * num_threads + cuda.threadIdx.x)
        valid = element < size
        head = cuda.blockIdx.x
        for i in range(2):
            sums[i] = float32(0)
        place = head * num_parts * size + select(valid, element, 0)
        for _ in range(num_parts):
            load_global_2(part, 0, parts, place)
            for i in range(2):
                sums[i] += part[i]
            place += size
        store_global_2(total, head * size + element, sums[0], sums[1], valid)

    add_parts = ops.device(add_parts)

    def tensor_total(
        S_parts: Pointer, z_parts: Pointer, S: Pointer, z: Pointer, num_parts: int
    ) -> None:
        if cuda.blockIdx.y < S_blocks:
            add_parts(S_parts, S, S_size, cuda.blockIdx.y, num_parts)
        else:  # z is no longer than a CTA has pairs
            add_parts(z_parts, z, num_features, 0, num_parts)

    return tensor_total


# The first phase.


def _num_sums(constants: TensorConstants) -> int:
    """Sums of S per lane."""
    columns = constants.head_dim // constants.value_groups
    return constants.features_per_channel * columns // 2


def _build_sum_keys(constants: TensorConstants, ops: Operations) -> Operation:
    cuda, float32, add_tile = ops.cuda, ops.float32, _build_add_tile(constants, ops)
    copy_tile, softmax_rows = build_copy_tile(constants, ops), build_softmax_rows(constants, ops)
    commit_copies, wait_for_copies = ops.commit_copies, ops.wait_for_copies
    wait_for_all_but_one, takes_softmax = (
        ops.wait_for_all_but_one,
        constants.feature_map == "softmax",
    )
    num_sums, num_z_sums = _num_sums(constants), 4 * constants.features_per_channel
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
    ldmatrix_trans, warp_number, ones = ops.ldmatrix_trans, ops.warp_number, ops.ones
    select, pack, masked = ops.select, ops.pack, constants.zero_has_features
    place, feature_pair = build_place(constants, ops), build_feature_pair(constants, ops)
    channel_blocks, parts = constants.head_dim // 16, constants.features_per_channel
    value_tiles = constants.head_dim // 8 // constants.value_groups
    row_bytes, num_words, pairs = constants.row_bytes, 2 * value_tiles, value_tiles // 2

    def add_tile(
        keys: int, values: int, tokens_left: int, sums: Registers, z_sums: Registers
    ) -> None:
        """Add phi(k) v^T and phi(k) of a tile's tokens to this warp's sums."""
        loaded = cuda.local.array(4, uint32)
        features = cuda.local.array(4, uint32)
        factors = cuda.local.array(num_words, uint32)
        counted = cuda.local.array(2, uint32)
        lane = cuda.threadIdx.x & 31
        value_group = warp_number() // channel_blocks
        channel_block = warp_number() - value_group * channel_blocks
        # Rows and chunks that ldmatrix wants of this lane; the matrices of A come in another order.
        key_row = (lane & 7) + ((lane >> 4) << 3)
        key_place = keys + place(key_row, 2 * channel_block + ((lane >> 3) & 1))
        value_row = lane & 15
        first_chunk = value_group * value_tiles + (lane >> 4)
        counted[0] = ones()
        counted[1] = ones()
        end = min(TILE_TOKENS, tokens_left)
        step = 0
        while step < end:
            offset = step * row_bytes
            ldmatrix_trans(loaded, 0, key_place + offset)
            for pair in range(pairs):
                value_place = values + place(value_row, first_chunk + 2 * pair)
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


def _block_tiles(constants: TensorConstants) -> int:
    """Tiles of 8 columns whose columns are permuted among each other."""
    return 4 if constants.head_dim // 8 // constants.column_groups % 4 == 0 else 2


def _build_state_place(constants: TensorConstants, ops: Operations) -> Operation:
    """Make `state_place(feature, pair)`: where two adjacent true columns of S lie in shared."""
    place, block_tiles = build_place(constants, ops), _block_tiles(constants)
    block_pairs = 4 * block_tiles

    def state_place(feature: int, pair: int) -> int:
        block = pair // block_pairs
        inside = pair - block * block_pairs
        lane_of_4 = inside // block_tiles
        tile = inside - lane_of_4 * block_tiles
        return place(feature, block * block_tiles + tile) + 4 * lane_of_4

    return ops.device(state_place)


def _build_put_state(
    constants: TensorConstants, ops: Operations, to_shared: bool, to_global: bool
) -> Operation:
    cuda, warp_number, select = ops.cuda, ops.warp_number, ops.select
    pack, store_shared, store_shared_word = ops.pack, ops.store_shared, ops.store_shared_word
    store_global_2, state_place = ops.store_global_2, _build_state_place(constants, ops)
    head_dim, parts = constants.head_dim, constants.features_per_channel
    channel_blocks, z_place = head_dim // 16, constants.z_start
    value_tiles = head_dim // 8 // constants.value_groups

    def put_state(
        shared: int, sums: Registers, z_sums: Registers, scale: float,
        S: Pointer, S_start: int,
    ) -> None:  # fmt: skip
        """Scale the sums, and leave S in shared memory as a factor, in global memory or both."""
        lane = cuda.threadIdx.x & 31
        value_group = warp_number() // channel_blocks
        first_feature = 16 * (warp_number() - value_group * channel_blocks)
        for part in range(parts):
            for lower in range(2):
                feature = part * head_dim + first_feature + 8 * lower + (lane >> 2)
                for tile in range(value_tiles):
                    i = 4 * (part * value_tiles + tile) + 2 * lower
                    a, b = sums[i] * scale, sums[i + 1] * scale
                    pair = 4 * (value_group * value_tiles + tile) + (lane & 3)
                    if to_shared:
                        store_shared_word(shared + state_place(feature, pair), pack(a, b))
                    if to_global:
                        store_global_2(S, S_start + feature * head_dim + 2 * pair, a, b, True)
        if value_group == 0:
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

    return ops.device(put_state)


def _build_write_z(constants: TensorConstants, ops: Operations) -> Operation:
    cuda, select = ops.cuda, ops.select
    load_shared, store_global_2 = ops.load_shared, ops.store_global_2
    num_features, z_place = constants.num_features, constants.z_start

    def write_z(shared: int, z: Pointer, z_start: int) -> None:
        """Write z from shared to global memory; there are threads enough for all pairs."""
        feature = 2 * cuda.threadIdx.x
        valid = feature < num_features
        place = shared + z_place + 4 * select(valid, feature, 0)
        a, b = load_shared(place), load_shared(place + 4)
        store_global_2(z, z_start + feature, a, b, valid)

    return ops.device(write_z)


# The second phase.


def _build_fetch_state(constants: TensorConstants, ops: Operations) -> Operation:
    cuda, float32, warp_number = ops.cuda, ops.float32, ops.warp_number
    load_global_2, store_shared, select = ops.load_global_2, ops.store_shared, ops.select
    store_shared_word, pack = ops.store_shared_word, ops.pack
    state_place, head_dim = _build_state_place(constants, ops), constants.head_dim
    num_features, z_place = constants.num_features, constants.z_start
    rows = constants.num_threads // (head_dim // 2)
    passes, z_passes = num_features // rows, -(-num_features // 64)

    def fetch_state(shared: int, S: Pointer, S_start: int, z: Pointer, z_start: int) -> None:
        """Bring S into shared memory as a factor, and z beside it."""
        two = cuda.local.array(2, float32)
        row = cuda.threadIdx.x // (head_dim // 2)
        pair = cuda.threadIdx.x - row * (head_dim // 2)
        for i in range(passes):
            feature = row + i * rows
            load_global_2(two, 0, S, S_start + feature * head_dim + 2 * pair)
            store_shared_word(shared + state_place(feature, pair), pack(two[0], two[1]))
        if warp_number() == 0:
            for i in range(z_passes):
                feature = 64 * i + 2 * cuda.threadIdx.x
                feature = select(feature < num_features, feature, 0)  # again, with equal values
                load_global_2(two, 0, z, z_start + feature)
                store_shared(shared + z_place + 4 * feature, two[0])
                store_shared(shared + z_place + 4 * feature + 4, two[1])

    return ops.device(fetch_state)


def _build_take_state(constants: TensorConstants, ops: Operations) -> Operation:
    cuda, warp_number, ldmatrix_trans = ops.cuda, ops.warp_number, ops.ldmatrix_trans
    load_shared, pack, low, high, select = ops.load_shared, ops.pack, ops.low, ops.high, ops.select
    place, z_place, row_bytes = build_place(constants, ops), constants.z_start, constants.row_bytes
    column_groups, steps = constants.column_groups, constants.num_features // 16
    column_tiles = constants.head_dim // 8 // column_groups
    pairs = column_tiles // 2

    def take_state(shared: int, factors: Registers, z_factors: Registers) -> None:
        """Load this warp's columns of S as a factor, and z as one of two rounded terms."""
        lane = cuda.threadIdx.x & 31
        first_chunk = warp_number() % column_groups * column_tiles + (lane >> 4)
        for step in range(steps):
            for pair in range(pairs):
                chunk_place = shared + place(lane & 15, first_chunk + 2 * pair)
                i = 2 * (step * column_tiles + 2 * pair)
                ldmatrix_trans(factors, i, chunk_place + step * 16 * row_bytes)
            for word in range(2):
                at = shared + z_place + 4 * (16 * step + 8 * word + 2 * (lane & 3))
                a, b = load_shared(at), load_shared(at + 4)
                rounded = pack(a, b)
                rest = pack(a - low(rounded), b - high(rounded))
                z_factors[2 * step + word] = select((lane & 4) != 0, rest, rounded)

    return ops.device(take_state)


def _build_read_queries(constants: TensorConstants, ops: Operations) -> Operation:
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
        out: Pointer, out_start: int, out_token: int, scaled_eps: float,
    ) -> None:  # fmt: skip
        """Stream the queries, whose first tile is on its way, and write their output."""
        factors = cuda.local.array(num_factors, uint32)
        z_factors = cuda.local.array(num_z_factors, uint32)
        take_state(shared, factors, z_factors)
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
            read_tile(tile, tokens_left, factors, z_factors, out, out_start, out_token, scaled_eps)
            cuda.syncthreads()
            out_start += TILE_TOKENS * out_token
            tokens_left -= TILE_TOKENS
            if tokens_left <= 0:
                break

    return ops.device(read_queries)


def _build_read_tile(constants: TensorConstants, ops: Operations) -> Operation:
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
    num_outputs, block_tiles = 4 * column_tiles, _block_tiles(constants)
    blocks = column_tiles // block_tiles
    store = ops.store_global_16 if block_tiles == 4 else ops.store_global_8

    def read_tile(
        queries: int, tokens_left: int, factors: Registers, z_factors: Registers,
        out: Pointer, out_start: int, out_token: int, scaled_eps: float,
    ) -> None:  # fmt: skip
        """Write S^T phi(q) / (phi(q).z + eps) of this warp's tokens and columns."""
        loaded = cuda.local.array(4, uint32)
        features = cuda.local.array(4, uint32)
        packed = cuda.local.array(block_tiles, uint32)
        outputs = cuda.local.array(num_outputs, float32)
        denominators = cuda.local.array(4, float32)
        lane = cuda.threadIdx.x & 31
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
                inverse = reciprocal(total + scaled_eps)
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
