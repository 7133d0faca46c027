"""The steps of the backward kernels for ordinary threads, as functions that are inlined into them.

In the kernels of dq, and of dk and dv, a thread at (row, column) of the grid of threads has the
tokens row, row + 16, ... of a tile and the features column, column + 16, ...: neighbours then read
neighbouring banks of shared memory.

Legend: D head width of q and k, E of v, F features per head; r, w, t as in `simt_backward.py`.
"""

from collections.abc import Callable
from typing import Any

import numba.cuda

from linvit_runtime.kernels.cuda.plan import SimtBackwardPlan
from linvit_runtime.kernels.cuda.simt_features import Floats, device_function

# Imported as Any: numba describes device attributes such as threadIdx.x as Python properties.
cuda: Any = numba.cuda

float32 = cuda.types.float32


def build_load_vector(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that puts z or dz at the start of shared memory."""
    num_features, num_threads = plan.gradients.num_features, plan.gradients.num_threads

    def load_vector(shared: Floats, z: Floats, z_start: int) -> None:
        """Put z or dz in front."""
        i = cuda.threadIdx.x
        while i < num_features:
            shared[i] = z[z_start + i]
            i += num_threads

    return device_function(load_vector)


def build_load_matrix(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that puts a block of columns of S or dS behind that of dout or v."""
    tile = plan.gradients
    num_features, value_dim, num_threads = tile.num_features, tile.value_dim, tile.num_threads
    block_columns, block_size = tile.block_columns, tile.feature_rows * tile.block_columns
    matrix_start, matrix_stride = plan.matrix_start, plan.matrix_stride

    def load_matrix(shared: Floats, S: Floats, S_start: int, columns_left: int) -> None:
        """Fill the block of S or dS, with zeros past the last feature and the last column."""
        i = cuda.threadIdx.x
        while i < block_size:
            feature = i // block_columns
            column = i - feature * block_columns
            x = float32(0)
            if feature < num_features and column < columns_left:
                x = S[S_start + feature * value_dim + column]
            shared[matrix_start + feature * matrix_stride + column] = x
            i += num_threads

    return device_function(load_matrix)


def build_add_block(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that multiplies a block of S by dout, or of dS by v."""
    tile = plan.gradients
    block_columns, values_start = tile.block_columns, tile.matrix_start
    matrix_start, matrix_stride = plan.matrix_start, plan.matrix_stride
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    tokens, rows = tile.tokens_per_thread, tile.rows_per_thread

    def add_block(shared: Floats, sums: Floats, thread_row: int, thread_column: int) -> None:
        """Add a block's columns to S dout, or dS v, of this thread's tokens and features."""
        for column in range(block_columns):
            for j in range(tokens):
                token = thread_row + j * thread_rows
                x = shared[values_start + token * block_columns + column]
                for row in range(rows):
                    feature = thread_column + row * thread_columns
                    y = shared[matrix_start + feature * matrix_stride + column]
                    sums[j * rows + row] += x * y

    return device_function(add_block)


def build_weigh_tokens(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that computes r and w of each query of a tile."""
    tile = plan.gradients
    tile_start, tile_stride, tile_tokens = tile.tile_start, tile.tile_stride, tile.tile_tokens
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    tokens, rows, num_threads = tile.tokens_per_thread, tile.rows_per_thread, tile.num_threads
    # The blocks are no longer needed: here go each thread's shares of the dot products.
    products_start = tile.matrix_start
    totals_start = products_start + tile.tile_tokens * tile.thread_columns

    def weigh_tokens(
        shared: Floats, sums: Floats, thread_row: int, thread_column: int, scaled_eps: float,
        inverses: Floats, weights: Floats, workspace_start: int, first: int, num_queries: int,
    ) -> None:  # fmt: skip
        """Compute r = 1 / (phi(q).z + c eps) and w = r^2 phi(q).t of the tile's tokens."""
        for j in range(tokens):
            token = thread_row + j * thread_rows
            total, product = float32(0), float32(0)
            for row in range(rows):
                feature = thread_column + row * thread_columns
                x = shared[tile_start + token * tile_stride + feature]
                total += x * shared[feature]
                product += x * sums[j * rows + row]
            shared[totals_start + token * thread_columns + thread_column] = total
            shared[products_start + token * thread_columns + thread_column] = product
        cuda.syncthreads()
        token = cuda.threadIdx.x
        while token < tile_tokens:
            total, product = float32(0), float32(0)
            for i in range(thread_columns):
                total += shared[totals_start + token * thread_columns + i]
                product += shared[products_start + token * thread_columns + i]
            inverse = float32(1) / (total + scaled_eps)
            weight = product * inverse * inverse
            shared[totals_start + token * thread_columns] = inverse
            shared[products_start + token * thread_columns] = weight
            if first + token < num_queries:
                inverses[workspace_start + first + token] = inverse
                weights[workspace_start + first + token] = weight
            token += num_threads

    return device_function(weigh_tokens)


def _build_times_derivative(plan: SimtBackwardPlan) -> Callable[..., float]:
    """Make `times_derivative(gradient, feature)`: times phi', which is a function of phi alone.

    That of softmax takes the gradient less its mean, weighted by the features of the token.
    Comparisons are arranged so that a NaN takes the branch that keeps it.
    """

    def times_relu(gradient: float, feature: float) -> float:
        return float32(0) if feature <= 0 else gradient

    def times_elu(gradient: float, feature: float) -> float:
        return gradient if feature >= 1 else gradient * feature

    def times_feature(gradient: float, feature: float) -> float:
        return gradient * feature

    def times_one(gradient: float, feature: float) -> float:
        return gradient

    makers = {
        "split_relu": times_relu,
        "relu": times_relu,
        "elu_plus_one": times_elu,
        "softmax": times_feature,
        "identity": times_one,
    }
    return device_function(makers[plan.gradients.feature_map])


def build_differentiate_queries(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step from S dout to the gradient of q before halves are folded.

    The features of a softmax sum to 1, so eps is a part of z: den = phi(q).(z + c eps). With that z
    the weighted mean of the gradient is zero, because den scales with phi(q) as the numerator does.
    """
    tile = plan.gradients
    tile_start, tile_stride = tile.tile_start, tile.tile_stride
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    tokens, rows = tile.tokens_per_thread, tile.rows_per_thread
    weights_start = tile.matrix_start
    inverses_start = weights_start + tile.tile_tokens * tile.thread_columns
    is_softmax = tile.feature_map == "softmax"
    times_derivative = _build_times_derivative(plan)

    def differentiate(
        shared: Floats, sums: Floats, thread_row: int, thread_column: int, scaled_eps: float
    ) -> None:
        """Replace the tile's phi(q) by the gradient of q, still one per feature."""
        eps_in_z = scaled_eps if is_softmax else float32(0)
        for j in range(tokens):
            token = thread_row + j * thread_rows
            inverse = shared[inverses_start + token * thread_columns]
            weight = shared[weights_start + token * thread_columns]
            for row in range(rows):
                feature = thread_column + row * thread_columns
                position = tile_start + token * tile_stride + feature
                gradient = inverse * sums[j * rows + row] - weight * (shared[feature] + eps_in_z)
                shared[position] = times_derivative(gradient, shared[position])

    return device_function(differentiate)


def build_differentiate_keys(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step from dS v to the gradient of k before halves are folded.

    All threads of the CTA have to take it together: for softmax it waits for all of them.
    """
    tile = plan.gradients
    tile_start, tile_stride = tile.tile_start, tile.tile_stride
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    tokens, rows = tile.tokens_per_thread, tile.rows_per_thread
    is_softmax = tile.feature_map == "softmax"
    subtract_mean = _build_subtract_mean(plan)
    times_derivative = _build_times_derivative(plan)

    def differentiate(
        shared: Floats, sums: Floats, thread_row: int, thread_column: int, scale: float
    ) -> None:
        """Replace the tile's phi(k) by the gradient of k, still one per feature."""
        for j in range(tokens):
            for row in range(rows):
                dz = shared[thread_column + row * thread_columns]
                sums[j * rows + row] = scale * (sums[j * rows + row] + dz)
        if is_softmax:
            subtract_mean(shared, sums, thread_row, thread_column)
        for j in range(tokens):
            token = thread_row + j * thread_rows
            for row in range(rows):
                feature = thread_column + row * thread_columns
                position = tile_start + token * tile_stride + feature
                shared[position] = times_derivative(sums[j * rows + row], shared[position])

    return device_function(differentiate)


def _build_subtract_mean(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that subtracts from a token's gradients their mean, weighted by phi(k)."""
    tile = plan.gradients
    tile_start, tile_stride = tile.tile_start, tile.tile_stride
    thread_rows, thread_columns = tile.thread_rows, tile.thread_columns
    tokens, rows = tile.tokens_per_thread, tile.rows_per_thread
    shares_start = tile.matrix_start  # the blocks are no longer needed

    def subtract_mean(shared: Floats, sums: Floats, thread_row: int, thread_column: int) -> None:
        """Add up each thread's share of the mean, and subtract it."""
        for j in range(tokens):
            token = thread_row + j * thread_rows
            share = float32(0)
            for row in range(rows):
                feature = thread_column + row * thread_columns
                x = shared[tile_start + token * tile_stride + feature]
                share += x * sums[j * rows + row]
            shared[shares_start + token * thread_columns + thread_column] = share
        cuda.syncthreads()
        for j in range(tokens):
            token = thread_row + j * thread_rows
            mean = float32(0)
            for i in range(thread_columns):
                mean += shared[shares_start + token * thread_columns + i]
            for row in range(rows):
                sums[j * rows + row] -= mean

    return device_function(subtract_mean)


def build_write_gradient(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that writes a tile of dq or dk."""
    tile = plan.gradients
    head_dim, tile_start, tile_stride = tile.head_dim, tile.tile_start, tile.tile_stride
    num_threads, tile_channels = tile.num_threads, tile.tile_tokens * tile.head_dim
    two_halves = tile.feature_map == "split_relu"

    def write_gradient(
        shared: Floats, grad: Floats, grad_start: int, grad_token: int, tokens_left: int
    ) -> None:
        """Write the tile of gradients, the half of -x subtracted from that of x."""
        i = cuda.threadIdx.x
        while i < tile_channels:
            token = i // head_dim
            channel = i - token * head_dim
            position = tile_start + token * tile_stride + channel
            if token < tokens_left:
                x = shared[position]
                if two_halves:
                    x -= shared[position + head_dim]
                grad[grad_start + token * grad_token + channel] = x
            i += num_threads

    return device_function(write_gradient)


def build_write_values(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that writes a block of columns of a tile of dv."""
    tile = plan.gradients
    num_features, tile_start, tile_stride = tile.num_features, tile.tile_start, tile.tile_stride
    matrix_start, matrix_stride = plan.matrix_start, plan.matrix_stride
    thread_rows, tokens = tile.thread_rows, tile.tokens_per_thread

    def write_values(
        shared: Floats, thread_row: int, column: int, scale: float,
        grad_v: Floats, grad_start: int, grad_token: int, tokens_left: int, columns_left: int,
    ) -> None:  # fmt: skip
        """Write c dS^T phi(k) of this thread's tokens and its one column of the block."""
        outputs = cuda.local.array(tokens, float32)
        for j in range(tokens):
            outputs[j] = float32(0)
        for feature in range(num_features):
            y = shared[matrix_start + feature * matrix_stride + column]
            for j in range(tokens):
                token = thread_row + j * thread_rows
                outputs[j] += shared[tile_start + token * tile_stride + feature] * y
        for j in range(tokens):
            token = thread_row + j * thread_rows
            if token < tokens_left and column < columns_left:
                grad_v[grad_start + token * grad_token + column] = outputs[j] * scale

    return device_function(write_values)


def build_load_weighted(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that loads a tile of r dout, and of w."""
    tile = plan.sums
    block_columns, matrix_start, weights_start = (
        tile.block_columns,
        tile.matrix_start,
        plan.weights_start,
    )
    num_threads, tile_tokens = tile.num_threads, tile.tile_tokens
    tile_values = tile_tokens * block_columns

    def load_weighted(
        shared: Floats, grad_out: Floats, start: int, token_stride: int,
        inverses: Floats, weights: Floats, workspace_start: int,
        first: int, num_queries: int, columns_left: int,
    ) -> None:  # fmt: skip
        """Fill the tile of r dout and that of w, with zeros past the last token and column."""
        i = cuda.threadIdx.x
        while i < tile_values:
            token = i // block_columns
            column = i - token * block_columns
            x = float32(0)
            if first + token < num_queries and column < columns_left:
                x = grad_out[start + (first + token) * token_stride + column]
                x *= inverses[workspace_start + first + token]
            shared[matrix_start + i] = x
            i += num_threads
        i = cuda.threadIdx.x
        while i < tile_tokens:
            x = float32(0)
            if first + i < num_queries:
                x = weights[workspace_start + first + i]
            shared[weights_start + i] = x
            i += num_threads

    return device_function(load_weighted)


def build_add_weighted(plan: SimtBackwardPlan) -> Callable[..., None]:
    """Make the step that adds a tile of queries to dS and dz."""
    tile = plan.sums
    num_features, block_columns = tile.num_features, tile.block_columns
    tile_tokens, num_threads = tile.tile_tokens, tile.num_threads
    tile_start, tile_stride, matrix_start = tile.tile_start, tile.tile_stride, tile.matrix_start
    rows, columns, weights_start = tile.rows_per_thread, tile.columns_per_thread, plan.weights_start

    def add_weighted(shared: Floats, sums: Floats, first_row: int, first_column: int) -> None:
        """Subtract the tile's tokens from dz, in shared memory, and add them to dS."""
        i = cuda.threadIdx.x
        while i < num_features:
            total = float32(0)
            for token in range(tile_tokens):
                x = shared[tile_start + token * tile_stride + i]
                total += x * shared[weights_start + token]
            shared[i] -= total
            i += num_threads
        for token in range(tile_tokens):
            for row in range(rows):
                x = shared[tile_start + token * tile_stride + first_row + row]
                for column in range(columns):
                    y = shared[matrix_start + token * block_columns + first_column + column]
                    sums[row * columns + column] += x * y

    return device_function(add_weighted)
