"""The backward pass on tensor cores, in bfloat16 and float16, as Numba-CUDA kernels.

One CTA computes one batch element and head, in two phases. It streams tiles of 64 queries and their
output gradients through shared memory, writes dq, and sums the gradients of S and z in registers;
then it rounds dS to half precision, streams tiles of keys and values, and writes dk and dv. So each
of the seven tensors is read or written once. Where heads are few and tokens are many the phases are
kernels of their own, each over parts of the tokens, with a third that adds up the parts of dS and
dz in order: no two CTAs add into one place.

`ptx_ops.py` describes the operations and the fragments, `tensor_gradients.py` what is done for
tokens and `tensor_gradient_state.py` what for S, `tensor_gradient_plan.py` the sizes.

Legend: D head width, F features per head, c the scale; CTA a block of threads; tile 64 tokens.
"""

import functools
from collections.abc import Callable

from linvit_runtime.kernels.cuda.kernel import ArgumentKind, Kernel
from linvit_runtime.kernels.cuda.ptx_ops import MIN_CAPABILITY, Operation, Operations, operations
from linvit_runtime.kernels.cuda.tensor_forward import (
    Launch,
    NamedKernel,
    Provider,
    strided,
    total_blocks,
    total_kernel,
)
from linvit_runtime.kernels.cuda.tensor_gradient_plan import GradientConstants, TensorBackwardPlan
from linvit_runtime.kernels.cuda.tensor_gradient_state import (
    build_add_tile,
    build_permuted_place,
    build_put_state_gradient,
)
from linvit_runtime.kernels.cuda.tensor_gradients import (
    build_key_gradients,
    build_query_gradients,
)
from linvit_runtime.kernels.cuda.tensor_plan import TILE_TOKENS, TensorConstants
from linvit_runtime.kernels.cuda.tensor_state import build_fetch_state, build_sum_z
from linvit_runtime.kernels.cuda.tensor_steps import (
    Pointer,
    Registers,
    build_copy_tile,
    build_softmax_rows,
)
from linvit_runtime.kernels.cuda.tensor_sums import build_write_z

_KINDS: dict[str, ArgumentKind] = {
    **dict.fromkeys(("q", "k", "v", "grad_out", "grad_q", "grad_k", "grad_v"), "pointer16"),
    **dict.fromkeys(("S", "z", "grad_S", "grad_z"), "float_pointer"),
    **dict.fromkeys(("grad_S_parts", "grad_z_parts"), "float_pointer"),
    **dict.fromkeys(("scale", "scaled_eps"), "float32"),
}


def backward_launches(
    plan: TensorBackwardPlan, provider: Provider = operations
) -> tuple[Launch, ...]:
    """The launches of a backward pass, in order."""
    constants, heads = plan.constants, plan.batch_heads
    if not plan.is_split:
        kernel, names = backward_kernel(constants, provider)
        return (Launch(kernel, (heads, 1, 1), names),)
    queries, query_names = query_gradients_kernel(constants, provider)
    keys, key_names = key_gradients_kernel(constants, provider)
    state = TensorConstants(
        constants.feature_map, constants.half_type, constants.head_dim, save_state=True
    )
    total, _ = total_kernel(state, provider)
    total_names = ("grad_S_parts", "grad_z_parts", "grad_S", "grad_z", "query_parts")
    return (
        Launch(queries, (heads, plan.query_parts, 1), query_names),
        Launch(total, (heads, total_blocks(state) + 1, 1), total_names),
        Launch(keys, (heads, plan.key_parts, 1), key_names),
    )


def _kernel(
    constants: GradientConstants, step: str, body: Callable[..., None], names: tuple[str, ...]
) -> NamedKernel:
    kernel = Kernel(
        name=f"tensor_{step}_{constants.feature_map}_{constants.half_type}_{constants.head_dim}",
        body=body,
        arguments=tuple(_KINDS.get(name, "int64") for name in names),
        threads=constants.num_threads,
        shared_bytes=constants.shared_bytes,
        min_blocks=constants.min_blocks,
        min_capability=MIN_CAPABILITY,
    )
    return kernel, names


@functools.cache
def backward_kernel(constants: GradientConstants, provider: Provider = operations) -> NamedKernel:
    """The kernel for whole heads, and its arguments' names; its grid is (B H, 1, 1)."""
    body = build_backward(constants, provider(constants.half_type))
    names = ("q", "grad_out", "k", "v", "S", "z", "grad_q", "grad_k", "grad_v")
    names += ("num_queries", "num_keys", "num_heads", *strided("q"), *strided("grad_out"))
    names += (*strided("k"), *strided("v"))
    names += (*strided("grad_q"), *strided("grad_k"), *strided("grad_v"), "scale", "scaled_eps")
    return _kernel(constants, "backward", body, names)


@functools.cache
def query_gradients_kernel(
    constants: GradientConstants, provider: Provider = operations
) -> NamedKernel:
    """Gradients of q, S and z from parts of the queries; its grid is (B H, query_parts, 1)."""
    body = build_query_kernel(constants, provider(constants.half_type))
    names = ("q", "grad_out", "S", "z", "grad_q", "grad_S_parts", "grad_z_parts")
    names += ("num_queries", "num_heads", "query_part_tokens")
    names += (*strided("q"), *strided("grad_out"), *strided("grad_q"), "scale", "scaled_eps")
    return _kernel(constants, "query_gradients", body, names)


@functools.cache
def key_gradients_kernel(
    constants: GradientConstants, provider: Provider = operations
) -> NamedKernel:
    """Gradients of k and v from those of S and z; its grid is (B H, key_parts, 1)."""
    body = build_key_kernel(constants, provider(constants.half_type))
    names = ("k", "v", "grad_S", "grad_z", "grad_k", "grad_v")
    names += ("num_keys", "num_heads", "key_part_tokens")
    names += (*strided("k"), *strided("v"), *strided("grad_k"), *strided("grad_v"))
    return _kernel(constants, "key_gradients", body, names)


# The bodies, and the two loops that they share.


def build_backward(constants: GradientConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `backward_kernel`."""
    cuda, shared_address, divide = ops.cuda, ops.shared_address, ops.divide
    uint32, float32, reciprocal = ops.uint32, ops.float32, ops.reciprocal
    num_features, S_size = constants.num_features, constants.num_features * constants.head_dim
    num_sums, num_z_sums = constants.num_sums, 2 * constants.features_per_channel
    start_pair, fetch_state = _build_start_pair(constants, ops), _build_fetch_state(constants, ops)
    sum_z, differentiate_queries = (
        build_sum_z(constants, ops, constants.z_start),
        _build_query_loop(constants, ops),
    )
    put_state_gradient = build_put_state_gradient(constants, ops, to_global=False)
    differentiate_keys = _build_key_loop(constants, ops)

    def tensor_backward(
        q: Pointer, grad_out: Pointer, k: Pointer, v: Pointer, S: Pointer, z: Pointer,
        grad_q: Pointer, grad_k: Pointer, grad_v: Pointer,
        num_queries: int, num_keys: int, num_heads: int,
        q_batch: int, q_token: int, q_head: int,
        out_batch: int, out_token: int, out_head: int,
        k_batch: int, k_token: int, k_head: int,
        v_batch: int, v_token: int, v_head: int,
        grad_q_batch: int, grad_q_token: int, grad_q_head: int,
        grad_k_batch: int, grad_k_token: int, grad_k_head: int,
        grad_v_batch: int, grad_v_token: int, grad_v_head: int,
        scale: float, scaled_eps: float,
    ) -> None:  # fmt: skip
        shared = shared_address(cuda.shared.array(0, uint32, alignment=128))
        sums = cuda.local.array(num_sums, float32)
        z_sums = cuda.local.array(num_z_sums, float32)
        head_index = cuda.blockIdx.x
        batch = divide(head_index, num_heads)
        head = head_index - batch * num_heads
        q_start = batch * q_batch + head * q_head
        out_start = batch * out_batch + head * out_head
        start_pair(shared, q, q_start, q_token, grad_out, out_start, out_token, num_queries)
        back = fetch_state(shared, S, head_index * S_size, z, head_index * num_features)
        cuda.syncthreads()
        z_norm = sum_z(shared)
        differentiate_queries(
            shared, q, q_start, q_token, grad_out, out_start, out_token, num_queries,
            grad_q, batch * grad_q_batch + head * grad_q_head, grad_q_token,
            back, z_norm, scaled_eps, sums, z_sums,
        )  # fmt: skip
        k_start = batch * k_batch + head * k_head
        v_start = batch * v_batch + head * v_head
        start_pair(shared, k, k_start, k_token, v, v_start, v_token, num_keys)
        factor = scale * reciprocal(z_norm)
        back = put_state_gradient(shared, sums, z_sums, factor, S, 0)
        differentiate_keys(
            shared, k, k_start, k_token, v, v_start, v_token, num_keys, back,
            grad_k, batch * grad_k_batch + head * grad_k_head, grad_k_token,
            grad_v, batch * grad_v_batch + head * grad_v_head, grad_v_token,
        )  # fmt: skip

    return tensor_backward


def build_query_kernel(constants: GradientConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `query_gradients_kernel`."""
    cuda, shared_address, divide = ops.cuda, ops.shared_address, ops.divide
    uint32, float32, reciprocal = ops.uint32, ops.float32, ops.reciprocal
    num_features, S_size = constants.num_features, constants.num_features * constants.head_dim
    num_sums, num_z_sums = constants.num_sums, 2 * constants.features_per_channel
    start_pair, fetch_state = _build_start_pair(constants, ops), _build_fetch_state(constants, ops)
    sum_z, differentiate_queries = (
        build_sum_z(constants, ops, constants.z_start),
        _build_query_loop(constants, ops),
    )
    put_state_gradient = build_put_state_gradient(constants, ops, to_global=True)
    write_z = build_write_z(constants, ops, constants.z_start)

    def tensor_query_gradients(
        q: Pointer, grad_out: Pointer, S: Pointer, z: Pointer, grad_q: Pointer,
        grad_S_parts: Pointer, grad_z_parts: Pointer,
        num_queries: int, num_heads: int, part_tokens: int,
        q_batch: int, q_token: int, q_head: int,
        out_batch: int, out_token: int, out_head: int,
        grad_q_batch: int, grad_q_token: int, grad_q_head: int,
        scale: float, scaled_eps: float,
    ) -> None:  # fmt: skip
        shared = shared_address(cuda.shared.array(0, uint32, alignment=128))
        sums = cuda.local.array(num_sums, float32)
        z_sums = cuda.local.array(num_z_sums, float32)
        head_index = cuda.blockIdx.x
        batch = divide(head_index, num_heads)
        head = head_index - batch * num_heads
        first = cuda.blockIdx.y * part_tokens
        num_tokens = min(part_tokens, num_queries - first)
        q_start = batch * q_batch + head * q_head + first * q_token
        out_start = batch * out_batch + head * out_head + first * out_token
        start_pair(shared, q, q_start, q_token, grad_out, out_start, out_token, num_tokens)
        back = fetch_state(shared, S, head_index * S_size, z, head_index * num_features)
        cuda.syncthreads()
        z_norm = sum_z(shared)
        grad_q_start = batch * grad_q_batch + head * grad_q_head + first * grad_q_token
        differentiate_queries(
            shared, q, q_start, q_token, grad_out, out_start, out_token, num_tokens,
            grad_q, grad_q_start, grad_q_token, back, z_norm, scaled_eps, sums, z_sums,
        )  # fmt: skip
        part = head_index * cuda.gridDim.y + cuda.blockIdx.y
        factor = scale * reciprocal(z_norm)
        put_state_gradient(shared, sums, z_sums, factor, grad_S_parts, part * S_size)
        cuda.syncthreads()
        write_z(shared, grad_z_parts, part * num_features)

    return tensor_query_gradients


def build_key_kernel(constants: GradientConstants, ops: Operations) -> Callable[..., None]:
    """Make the body of `key_gradients_kernel`."""
    cuda, shared_address, divide = ops.cuda, ops.shared_address, ops.divide
    uint32, num_features = ops.uint32, constants.num_features
    S_size = num_features * constants.head_dim
    start_pair, fetch_state = _build_start_pair(constants, ops), _build_fetch_state(constants, ops)
    differentiate_keys = _build_key_loop(constants, ops)

    def tensor_key_gradients(
        k: Pointer, v: Pointer, grad_S: Pointer, grad_z: Pointer, grad_k: Pointer, grad_v: Pointer,
        num_keys: int, num_heads: int, part_tokens: int,
        k_batch: int, k_token: int, k_head: int,
        v_batch: int, v_token: int, v_head: int,
        grad_k_batch: int, grad_k_token: int, grad_k_head: int,
        grad_v_batch: int, grad_v_token: int, grad_v_head: int,
    ) -> None:  # fmt: skip
        shared = shared_address(cuda.shared.array(0, uint32, alignment=128))
        head_index = cuda.blockIdx.x
        batch = divide(head_index, num_heads)
        head = head_index - batch * num_heads
        first = cuda.blockIdx.y * part_tokens
        num_tokens = min(part_tokens, num_keys - first)
        k_start = batch * k_batch + head * k_head + first * k_token
        v_start = batch * v_batch + head * v_head + first * v_token
        start_pair(shared, k, k_start, k_token, v, v_start, v_token, num_tokens)
        back = fetch_state(shared, grad_S, head_index * S_size, grad_z, head_index * num_features)
        differentiate_keys(
            shared, k, k_start, k_token, v, v_start, v_token, num_tokens, back,
            grad_k, batch * grad_k_batch + head * grad_k_head + first * grad_k_token, grad_k_token,
            grad_v, batch * grad_v_batch + head * grad_v_head + first * grad_v_token, grad_v_token,
        )  # fmt: skip

    return tensor_key_gradients


def _build_fetch_state(constants: GradientConstants, ops: Operations) -> Operation:
    place = build_permuted_place(constants, ops)
    return build_fetch_state(constants, ops, place, constants.z_start, constants.largest_start)


def _build_start_pair(constants: GradientConstants, ops: Operations) -> Operation:
    """Make `start_pair`, which starts copying the first tiles of two tensors."""
    copy_tile, commit_copies = build_copy_tile(constants, ops), ops.commit_copies
    tiles_start, tile_bytes = constants.tiles_start, constants.tile_bytes

    def start_pair(
        shared: int, x: Pointer, x_start: int, x_token: int,
        y: Pointer, y_start: int, y_token: int, num_tokens: int,
    ) -> None:  # fmt: skip
        copy_tile(shared + tiles_start, x, x_start, x_token, num_tokens)
        copy_tile(shared + tiles_start + tile_bytes, y, y_start, y_token, num_tokens)
        commit_copies()

    return ops.device(start_pair)


def _build_next_pair(constants: GradientConstants, ops: Operations) -> Operation:
    """Make `next_pair`, which ends with a pair of tiles to be read, and the next on their way."""
    cuda, commit_copies, wait_for_copies = ops.cuda, ops.commit_copies, ops.wait_for_copies
    copy_tile, softmax_rows = build_copy_tile(constants, ops), build_softmax_rows(constants, ops)
    tile_bytes, takes_softmax = constants.tile_bytes, constants.feature_map == "softmax"

    def next_pair(
        tile: int, following: int, x: Pointer, x_next: int, x_token: int,
        y: Pointer, y_next: int, y_token: int, tokens_left: int,
    ) -> None:  # fmt: skip
        wait_for_copies()
        cuda.syncthreads()  # for the copies, and for all to have read the tiles before these
        if tokens_left > TILE_TOKENS:
            copy_tile(following, x, x_next, x_token, tokens_left - TILE_TOKENS)
            copy_tile(following + tile_bytes, y, y_next, y_token, tokens_left - TILE_TOKENS)
            commit_copies()
        if takes_softmax:
            softmax_rows(tile)
            cuda.syncthreads()

    return ops.device(next_pair)


def _build_query_loop(constants: GradientConstants, ops: Operations) -> Operation:
    cuda, float32, next_pair = ops.cuda, ops.float32, _build_next_pair(constants, ops)
    query_gradients, add_tile = (
        build_query_gradients(constants, ops),
        build_add_tile(constants, ops),
    )
    num_sums, num_z_sums = constants.num_sums, 2 * constants.features_per_channel
    tiles_start, tile_bytes = constants.tiles_start, constants.tile_bytes

    def differentiate_queries(
        shared: int, q: Pointer, q_start: int, q_token: int,
        grad_out: Pointer, out_start: int, out_token: int, num_tokens: int,
        grad_q: Pointer, grad_q_start: int, grad_q_token: int,
        back: float, z_norm: float, scaled_eps: float, sums: Registers, z_sums: Registers,
    ) -> None:  # fmt: skip
        """Write dq; sum the gradients of S and z, times `z_norm`. All tiles have been read then."""
        for i in range(num_sums):
            sums[i] = float32(0)
        for i in range(num_z_sums):
            z_sums[i] = float32(0)
        tokens_left, stage = num_tokens, 0
        while True:
            tile = shared + tiles_start + 2 * stage * tile_bytes
            stage = 1 - stage
            following = shared + tiles_start + 2 * stage * tile_bytes
            q_start += TILE_TOKENS * q_token
            out_start += TILE_TOKENS * out_token
            next_pair(
                tile, following, q, q_start, q_token, grad_out, out_start, out_token, tokens_left
            )
            query_gradients(
                shared, tile, tile + tile_bytes, tokens_left, back, z_norm, scaled_eps,
                grad_q, grad_q_start, grad_q_token,
            )  # fmt: skip
            cuda.syncthreads()
            add_tile(shared, tile, tile + tile_bytes, tokens_left, sums, z_sums)
            grad_q_start += TILE_TOKENS * grad_q_token
            tokens_left -= TILE_TOKENS
            if tokens_left <= 0:
                break
        cuda.syncthreads()

    return ops.device(differentiate_queries)


def _build_key_loop(constants: GradientConstants, ops: Operations) -> Operation:
    next_pair = _build_next_pair(constants, ops)
    key_gradients = build_key_gradients(constants, ops)
    tiles_start, tile_bytes = constants.tiles_start, constants.tile_bytes

    def differentiate_keys(
        shared: int, k: Pointer, k_start: int, k_token: int,
        v: Pointer, v_start: int, v_token: int, num_tokens: int, back: float,
        grad_k: Pointer, grad_k_start: int, grad_k_token: int,
        grad_v: Pointer, grad_v_start: int, grad_v_token: int,
    ) -> None:  # fmt: skip
        """Write dk and dv; the gradients of S and z are in shared memory."""
        tokens_left, stage = num_tokens, 0
        while True:
            tile = shared + tiles_start + 2 * stage * tile_bytes
            stage = 1 - stage
            following = shared + tiles_start + 2 * stage * tile_bytes
            k_start += TILE_TOKENS * k_token
            v_start += TILE_TOKENS * v_token
            next_pair(tile, following, k, k_start, k_token, v, v_start, v_token, tokens_left)
            key_gradients(
                shared, tile, tile + tile_bytes, tokens_left, back,
                grad_k, grad_k_start, grad_k_token, grad_v, grad_v_start, grad_v_token,
            )  # fmt: skip
            grad_k_start += TILE_TOKENS * grad_k_token
            grad_v_start += TILE_TOKENS * grad_v_token
            tokens_left -= TILE_TOKENS
            if tokens_left <= 0:
                break

    return ops.device(differentiate_keys)
