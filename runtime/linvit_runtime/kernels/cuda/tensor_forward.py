"""The forward pass on tensor cores, in bfloat16 and float16, as Numba-CUDA kernels.

One CTA computes one batch element and head, in two phases. It streams tiles of 64 keys and values
through shared memory and sums S = c sum_j phi(k_j) v_j^T in registers, in float32; then it rounds S
to half precision, keeps it in registers as the right factor, streams tiles of queries and divides.
Where heads are few and tokens are many the phases are kernels of their own, each over parts of the
tokens, with a third that adds up the parts of S and z in order: no two CTAs add into one place.

`ptx_ops.py` describes the operations and the fragments, `tensor_sums.py` and `tensor_read_out.py`
the two phases, `tensor_plan.py` the sizes. All steps are inlined functions that the kernels share.

Legend: D head width, F features per head, c the scale; CTA a block of threads; tile 64 tokens.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from linvit_runtime.kernels.cuda.kernel import ArgumentKind, HalfType, Kernel
from linvit_runtime.kernels.cuda.ptx_ops import MIN_CAPABILITY, Operations, operations
from linvit_runtime.kernels.cuda.tensor_plan import TensorConstants, TensorPlan
from linvit_runtime.kernels.cuda.tensor_read_out import build_read_queries
from linvit_runtime.kernels.cuda.tensor_state import build_fetch_state
from linvit_runtime.kernels.cuda.tensor_steps import Pointer, build_copy_tile, build_state_place
from linvit_runtime.kernels.cuda.tensor_sums import build_put_state, build_sum_keys, build_write_z

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


NamedKernel = tuple[Kernel, tuple[str, ...]]
"""A kernel, and the names of its arguments."""

Provider = Callable[[HalfType], Operations]
"""Where the operations come from that kernels are written with."""


def forward_launches(plan: TensorPlan, provider: Provider = operations) -> tuple[Launch, ...]:
    """The launches of a forward pass, in order."""
    constants, heads = plan.constants, plan.batch_heads
    if not plan.is_split:
        kernel, names = forward_kernel(constants, provider)
        return (Launch(kernel, (heads, 1, 1), names),)
    sums, sums_names = sums_kernel(constants, provider)
    total, total_names = total_kernel(constants, provider)
    read_out, read_out_names = read_out_kernel(constants, provider)
    return (
        Launch(sums, (heads, plan.key_parts, 1), sums_names),
        Launch(total, (heads, total_blocks(constants) + 1, 1), total_names),
        Launch(read_out, (heads, plan.query_parts, 1), read_out_names),
    )


def strided(name: str) -> tuple[str, ...]:
    """The names of the strides of a tensor."""
    return tuple(f"{name}_{stride}" for stride in _STRIDES)


def _kernel(
    constants: TensorConstants, step: str, body: Callable[..., None], names: tuple[str, ...]
) -> NamedKernel:
    adds_only = step == "total"
    state = "_with_state" if constants.save_state and step == "forward" else ""
    kernel = Kernel(
        name=f"tensor_{step}_{constants.feature_map}_{constants.half_type}"
        f"_{constants.head_dim}{state}",
        body=body,
        arguments=tuple(_KINDS.get(name, "int64") for name in names),
        threads=constants.num_threads,
        shared_bytes=0 if adds_only else constants.shared_bytes,
        min_blocks=0 if adds_only else constants.min_blocks,
        min_capability=MIN_CAPABILITY,
    )
    return kernel, names


@functools.cache
def forward_kernel(constants: TensorConstants, provider: Provider = operations) -> NamedKernel:
    """The kernel for whole heads, and its arguments' names; its grid is (B H, 1, 1)."""
    body = build_forward(constants, provider(constants.half_type))
    state = ("S", "z") if constants.save_state else ("k", "k")  # never written, of any address
    names = ("q", "k", "v", "out", *state, "num_queries", "num_keys", "num_heads")
    names += (*strided("q"), *strided("k"), *strided("v"), "scale", "scaled_eps")
    return _kernel(constants, "forward", body, names)


@functools.cache
def sums_kernel(constants: TensorConstants, provider: Provider = operations) -> NamedKernel:
    """S and z of parts of the keys; its grid is (B H, key_parts, 1)."""
    body = build_sums(constants, provider(constants.half_type))
    names = ("k", "v", "S_parts", "z_parts", "num_keys", "num_heads", "key_part_tokens")
    names += (*strided("k"), *strided("v"), "scale")
    return _kernel(constants, "sums", body, names)


@functools.cache
def total_kernel(constants: TensorConstants, provider: Provider = operations) -> NamedKernel:
    """Adds up the parts of S and z; its grid is (B H, blocks of S + 1 for z, 1)."""
    body = build_total(constants, provider(constants.half_type))
    names = ("S_parts", "z_parts", "S", "z", "key_parts")
    return _kernel(constants, "total", body, names)


@functools.cache
def read_out_kernel(constants: TensorConstants, provider: Provider = operations) -> NamedKernel:
    """The output of parts of the queries from S and z; its grid is (B H, query_parts, 1)."""
    body = build_read_out(constants, provider(constants.half_type))
    names = ("q", "S", "z", "out", "num_queries", "num_heads", "query_part_tokens")
    names += (*strided("q"), "scaled_eps")
    return _kernel(constants, "read_out", body, names)


# The bodies.


def build_forward(constants: TensorConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `forward_kernel`."""
    cuda, shared_address, divide = ops.cuda, ops.shared_address, ops.divide
    uint32, float32 = ops.uint32, ops.float32
    head_dim, num_features = constants.head_dim, constants.num_features
    num_sums, num_z_sums = constants.num_sums, 4 * constants.features_per_channel
    save_state = constants.save_state
    sum_keys, copy_tile = build_sum_keys(constants, ops), build_copy_tile(constants, ops)
    put_state = build_put_state(constants, ops, to_shared=True, to_global=save_state)
    write_z, read_queries = (
        build_write_z(constants, ops, constants.z_start),
        build_read_queries(constants, ops),
    )
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
        batch = divide(head_index, num_heads)
        head = head_index - batch * num_heads
        k_start = batch * k_batch + head * k_head
        v_start = batch * v_batch + head * v_head
        q_start = batch * q_batch + head * q_head
        sum_keys(shared, k, k_start, k_token, v, v_start, v_token, num_keys, sums, z_sums)
        copy_tile(shared + query_start, q, q_start, q_token, num_queries)
        commit_copies()
        back = put_state(shared, sums, z_sums, scale, S, head_index * num_features * head_dim)
        cuda.syncthreads()
        if save_state:
            write_z(shared, z, head_index * num_features)
        row = num_heads * head_dim
        out_start = batch * num_queries * row + head * head_dim
        read_queries(
            shared, q, q_start, q_token, num_queries, out, out_start, row, back, scaled_eps
        )

    return tensor_forward


def build_sums(constants: TensorConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `sums_kernel`."""
    cuda, shared_address, divide = ops.cuda, ops.shared_address, ops.divide
    uint32, float32 = ops.uint32, ops.float32
    head_dim, num_features = constants.head_dim, constants.num_features
    num_sums, num_z_sums = constants.num_sums, 4 * constants.features_per_channel
    sum_keys, write_z = (
        build_sum_keys(constants, ops),
        build_write_z(constants, ops, constants.z_start),
    )
    put_state = build_put_state(constants, ops, to_shared=False, to_global=True)

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
        batch = divide(cuda.blockIdx.x, num_heads)
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
    cuda, shared_address, divide, uint32 = ops.cuda, ops.shared_address, ops.divide, ops.uint32
    head_dim, num_features = constants.head_dim, constants.num_features
    query_start, commit_copies = constants.query_start, ops.commit_copies
    copy_tile, read_queries = build_copy_tile(constants, ops), build_read_queries(constants, ops)
    place = build_state_place(constants, ops, constants.block_tiles)
    places = constants.z_start, constants.largest_start
    fetch_state = build_fetch_state(constants, ops, place, *places)

    def tensor_read_out(
        q: Pointer, S: Pointer, z: Pointer, out: Pointer,
        num_queries: int, num_heads: int, part_tokens: int,
        q_batch: int, q_token: int, q_head: int,
        scaled_eps: float,
    ) -> None:  # fmt: skip
        shared = shared_address(cuda.shared.array(0, uint32, alignment=128))
        batch = divide(cuda.blockIdx.x, num_heads)
        head = cuda.blockIdx.x - batch * num_heads
        first = cuda.blockIdx.y * part_tokens
        num_tokens = min(part_tokens, num_queries - first)
        q_start = batch * q_batch + head * q_head + first * q_token
        copy_tile(shared + query_start, q, q_start, q_token, num_tokens)
        commit_copies()
        z_start = cuda.blockIdx.x * num_features
        back = fetch_state(shared, S, z_start * head_dim, z, z_start)
        cuda.syncthreads()
        row = num_heads * head_dim
        out_start = (batch * num_queries + first) * row + head * head_dim
        read_queries(shared, q, q_start, q_token, num_tokens, out, out_start, row, back, scaled_eps)

    return tensor_read_out


def total_blocks(constants: TensorConstants) -> int:
    """CTAs that add up S, a pair of elements per thread."""
    pairs = constants.num_features * constants.head_dim // 2
    return -(-pairs // constants.num_threads)


def build_total(constants: TensorConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `total_kernel`."""
    cuda, float32, select = ops.cuda, ops.float32, ops.select
    thread_number = ops.thread_number
    load_global_2, store_global_2 = ops.load_global_2, ops.store_global_2
    num_features, num_threads = constants.num_features, constants.num_threads
    S_size, S_blocks = num_features * constants.head_dim, total_blocks(constants)

    def add_parts(parts: Pointer, total: Pointer, size: int, block: int, num_parts: int) -> None:
        sums = cuda.local.array(2, float32)
        part = cuda.local.array(2, float32)
        element = 2 * (block * num_threads + thread_number())
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
