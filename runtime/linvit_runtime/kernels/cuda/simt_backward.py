"""The backward pass as three Numba-CUDA kernels of ordinary threads (SIMT), in float32.

`torch_backend.py` derives the formulas. With r = 1/den and w as there::

    query_gradients   t_n = S dout_n,  dphi(q_n) = r_n t_n - w_n z    ->  dq, r, w
    state_gradients   dS = sum_n phi(q_n) (r_n dout_n)^T              ->  dS, dz
                      dz = - sum_n w_n phi(q_n)
    key_gradients     dphi(k_m) = c (dS v_m + dz)                     ->  dk, dv
                      dv_m = c dS^T phi(k_m)

In the first and the last, a CTA has one tile of tokens of one head and goes through S or dS in
blocks of columns; in the second, it has a block of columns and goes through the tokens, as in the
forward pass. r and w are two floats per query and head, far less than computing them anew. No two
CTAs ever add into one place: the result is deterministic and independent of the batch.

Legend: D head width of q and k, E of v, F features per head; CTA a block of threads.
"""

import functools
from collections.abc import Callable
from typing import Any

import numba.cuda

from linvit_runtime.kernels.cuda.kernel import ArgumentKind, Kernel
from linvit_runtime.kernels.cuda.plan import SimtBackwardPlan
from linvit_runtime.kernels.cuda.simt_features import Floats, build_load_features
from linvit_runtime.kernels.cuda.simt_forward import build_clear, build_load_values
from linvit_runtime.kernels.cuda.simt_gradient_steps import (
    build_add_block,
    build_add_weighted,
    build_differentiate_keys,
    build_differentiate_queries,
    build_load_matrix,
    build_load_vector,
    build_load_weighted,
    build_weigh_tokens,
    build_write_gradient,
    build_write_values,
)

# Imported as Any: numba describes device attributes such as threadIdx.x as Python properties.
cuda: Any = numba.cuda

float32 = cuda.types.float32

_INTEGERS: tuple[ArgumentKind, ...] = (
    "int64",
) * 8  # tokens, heads, strides: B N 3 H D can be large


@functools.cache
def backward_kernels(plan: SimtBackwardPlan) -> tuple[Kernel, Kernel, Kernel]:
    """The kernels of dq, of dS and dz, and of dk and dv, in the order of their launches."""
    tile, sums = plan.gradients, plan.sums
    sizes = f"{tile.feature_map}_float32_{tile.head_dim}_{tile.value_dim}"

    tokens = f"{sizes}_tile_{tile.tile_tokens}"

    def kernel(name: str, body: Callable[..., None], *arguments: ArgumentKind) -> Kernel:
        return Kernel(name, body, arguments, tile.num_threads, min_blocks=2)

    return (
        kernel(
            f"simt_query_gradients_{tokens}",
            build_query_gradients(plan),
            *(*_pointers(7), *_INTEGERS, "float32"),
        ),
        kernel(
            f"simt_state_gradients_{sizes}_tile_{sums.tile_tokens}x{sums.block_columns}",
            build_state_gradients(plan),
            *(*_pointers(6), *_INTEGERS),
        ),
        kernel(
            f"simt_key_gradients_{tokens}",
            build_key_gradients(plan),
            *(*_pointers(6), *_INTEGERS, "float32"),
        ),
    )


def _pointers(number: int) -> tuple[ArgumentKind, ...]:
    return ("float_pointer",) * number


def build_query_gradients(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the body of the kernel of dq `[B, N, H, D]`, r and w (both `[B, H, N]`).

    Launch it on one CTA per head and tile of queries, those of a head side by side: they read the
    same S. Strides count floats; channels of q and dout are adjacent, everything else contiguous.
    """
    tile = plan.gradients
    head_dim, value_dim, num_features = tile.head_dim, tile.value_dim, tile.num_features
    tile_tokens, block_columns, thread_columns = (
        tile.tile_tokens,
        tile.block_columns,
        tile.thread_columns,
    )
    num_sums = tile.tokens_per_thread * tile.rows_per_thread
    shared_floats = plan.gradients_shared_floats
    clear, load_features = build_clear(tile, num_sums), build_load_features(tile)
    load_values, load_matrix = build_load_values(tile), build_load_matrix(plan)
    load_vector, add_block = build_load_vector(plan), build_add_block(plan)
    weigh_tokens, differentiate = build_weigh_tokens(plan), build_differentiate_queries(plan)
    write_gradient = build_write_gradient(plan)

    def query_gradients(
        q: Floats, grad_out: Floats, S: Floats, z: Floats,
        grad_q: Floats, inverses: Floats, weights: Floats,
        num_queries: int, num_heads: int,
        q_batch: int, q_token: int, q_head: int,
        out_batch: int, out_token: int, out_head: int,
        scaled_eps: float,
    ) -> None:  # fmt: skip
        shared = cuda.shared.array(shared_floats, float32)
        sums = cuda.local.array(num_sums, float32)
        thread_row = cuda.threadIdx.x // thread_columns
        thread_column = cuda.threadIdx.x - thread_row * thread_columns
        num_tiles = (num_queries + tile_tokens - 1) // tile_tokens
        head_index = cuda.blockIdx.x // num_tiles
        batch = head_index // num_heads
        head = head_index - batch * num_heads
        first = (cuda.blockIdx.x - head_index * num_tiles) * tile_tokens

        clear(shared, sums)
        cuda.syncthreads()
        load_vector(shared, z, head_index * num_features)
        load_features(shared, q, batch * q_batch + head * q_head, q_token, first, num_queries)
        column = 0
        while column < value_dim:
            cuda.syncthreads()
            load_matrix(
                shared, S, head_index * num_features * value_dim + column, value_dim - column
            )
            start = batch * out_batch + head * out_head + column
            load_values(
                shared, grad_out, start, out_token, first, num_queries, value_dim - column
            )  # fmt: skip
            cuda.syncthreads()
            add_block(shared, sums, thread_row, thread_column)
            column += block_columns
        cuda.syncthreads()
        weigh_tokens(
            shared, sums, thread_row, thread_column, scaled_eps,
            inverses, weights, head_index * num_queries, first, num_queries,
        )  # fmt: skip
        cuda.syncthreads()
        differentiate(shared, sums, thread_row, thread_column, scaled_eps)
        cuda.syncthreads()
        start = ((batch * num_queries + first) * num_heads + head) * head_dim
        write_gradient(shared, grad_q, start, num_heads * head_dim, num_queries - first)

    return query_gradients


def build_state_gradients(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the body of the kernel of dS `[B, H, F, E]` and dz `[B, H, F]`.

    Launch it on a grid of (B*H, `plan.sums.num_column_blocks`).
    """
    tile = plan.sums
    value_dim, num_features = tile.value_dim, tile.num_features
    block_columns, tile_tokens = tile.block_columns, tile.tile_tokens
    thread_columns, num_threads = tile.thread_columns, tile.num_threads
    rows, columns = tile.rows_per_thread, tile.columns_per_thread
    num_sums, shared_floats = rows * columns, plan.sums_shared_floats
    clear, load_features = build_clear(tile, num_sums), build_load_features(tile)
    load_weighted, add_tile = build_load_weighted(plan), build_add_weighted(plan)

    def state_gradients(
        q: Floats, grad_out: Floats, inverses: Floats, weights: Floats,
        grad_S: Floats, grad_z: Floats,
        num_queries: int, num_heads: int,
        q_batch: int, q_token: int, q_head: int,
        out_batch: int, out_token: int, out_head: int,
    ) -> None:  # fmt: skip
        shared = cuda.shared.array(shared_floats, float32)
        sums = cuda.local.array(num_sums, float32)
        thread_row = cuda.threadIdx.x // thread_columns
        first_column = (cuda.threadIdx.x - thread_row * thread_columns) * columns
        head_index = cuda.blockIdx.x
        batch = head_index // num_heads
        head = head_index - batch * num_heads
        block_start = cuda.blockIdx.y * block_columns
        columns_left = value_dim - block_start

        clear(shared, sums)
        first = 0
        while first < num_queries:
            cuda.syncthreads()
            load_features(shared, q, batch * q_batch + head * q_head, q_token, first, num_queries)
            load_weighted(
                shared, grad_out, batch * out_batch + head * out_head + block_start, out_token,
                inverses, weights, head_index * num_queries, first, num_queries, columns_left,
            )  # fmt: skip
            cuda.syncthreads()
            add_tile(shared, sums, thread_row * rows, first_column)
            first += tile_tokens

        i = cuda.threadIdx.x
        while i < num_features and block_start == 0:
            grad_z[head_index * num_features + i] = shared[i]  # what this thread itself added up
            i += num_threads
        for row in range(rows):
            feature = thread_row * rows + row
            start = (head_index * num_features + feature) * value_dim + block_start
            for column in range(columns):
                if feature < num_features and first_column + column < columns_left:
                    grad_S[start + first_column + column] = sums[row * columns + column]

    return state_gradients


def build_key_gradients(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the body of the kernel of dk `[B, L, H, D]` and dv `[B, L, H, E]`.

    Launch it on one CTA per head and tile of keys.
    """
    tile = plan.gradients
    head_dim, value_dim, num_features = tile.head_dim, tile.value_dim, tile.num_features
    tile_tokens, block_columns, thread_columns = (
        tile.tile_tokens,
        tile.block_columns,
        tile.thread_columns,
    )
    num_sums = tile.tokens_per_thread * tile.rows_per_thread
    shared_floats = plan.gradients_shared_floats
    clear, load_features = build_clear(tile, num_sums), build_load_features(tile)
    load_values, load_matrix = build_load_values(tile), build_load_matrix(plan)
    load_vector, add_block = build_load_vector(plan), build_add_block(plan)
    write_values, differentiate = build_write_values(plan), build_differentiate_keys(plan)
    write_gradient = build_write_gradient(plan)

    def key_gradients(
        k: Floats, v: Floats, grad_S: Floats, grad_z: Floats, grad_k: Floats, grad_v: Floats,
        num_keys: int, num_heads: int,
        k_batch: int, k_token: int, k_head: int,
        v_batch: int, v_token: int, v_head: int,
        scale: float,
    ) -> None:  # fmt: skip
        shared = cuda.shared.array(shared_floats, float32)
        sums = cuda.local.array(num_sums, float32)
        thread_row = cuda.threadIdx.x // thread_columns
        thread_column = cuda.threadIdx.x - thread_row * thread_columns
        num_tiles = (num_keys + tile_tokens - 1) // tile_tokens
        head_index = cuda.blockIdx.x // num_tiles
        batch = head_index // num_heads
        head = head_index - batch * num_heads
        first = (cuda.blockIdx.x - head_index * num_tiles) * tile_tokens
        first_row = (batch * num_keys + first) * num_heads + head

        clear(shared, sums)
        cuda.syncthreads()
        load_vector(shared, grad_z, head_index * num_features)
        load_features(shared, k, batch * k_batch + head * k_head, k_token, first, num_keys)
        column = 0
        while column < value_dim:
            cuda.syncthreads()
            start = head_index * num_features * value_dim + column
            load_matrix(shared, grad_S, start, value_dim - column)
            start = batch * v_batch + head * v_head + column
            load_values(shared, v, start, v_token, first, num_keys, value_dim - column)
            cuda.syncthreads()
            add_block(shared, sums, thread_row, thread_column)
            write_values(
                shared, thread_row, thread_column, scale, grad_v, first_row * value_dim + column,
                num_heads * value_dim, num_keys - first, value_dim - column,
            )  # fmt: skip
            column += block_columns
        cuda.syncthreads()
        differentiate(shared, sums, thread_row, thread_column, scale)
        cuda.syncthreads()
        write_gradient(
            shared, grad_k, first_row * head_dim, num_heads * head_dim, num_keys - first
        )  # fmt: skip

    return key_gradients
