"""The CPU backward kernel: each thread takes one head of one image after another.

Two passes, as in `torch_backend.py`: over the queries, which gives dq, dS and dz; then over the
keys, which gives dk and dv. Products with the state over its value axis run on its transpose, so
that all products are sums of whole rows.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportMissingParameterType=false, reportMissingTypeStubs=false
# pyright: reportUntypedFunctionDecorator=false

from collections.abc import Callable
from typing import Any

import numpy as np

from linvit_runtime.kernels.cpu.parts import (
    accumulate_features,
    add_features,
    clear,
    feature_product,
    input_gradient,
    project,
    read,
    stage,
    stage_features,
    transpose,
)
from linvit_runtime.kernels.cpu.plan import BLOCK as TOKENS
from linvit_runtime.kernels.cpu.plan import TOKEN_ROWS, CpuPlan
from linvit_runtime.kernels.cpu.tiles import (
    FLOAT32,
    add,
    as_float32,
    copy_row,
    load,
    pointer_to,
    scale,
    store,
    subtract,
    take_ticket,
)

BACKWARD_ARGUMENTS = (
    *("grad_out", "q", "k", "v", "S", "z", "grad_q", "grad_k", "grad_v", "scratch"),  # addresses
    *(
        "scratch_bytes",
        "num_queries",
        "num_keys",
        "num_heads",
        "num_tasks",
        "head_dim",
        "value_dim",
    ),
    *("out_batch", "out_token", "out_head"),  # strides
    *("q_batch", "q_token", "q_head"),
    *("k_batch", "k_token", "k_head"),
    *("v_batch", "v_token", "v_head"),
    *("threads", "tasks"),  # counters, from 0
    "options",  # two float32: the scale c of the STATE, and c eps
)
"""The int64 that the kernel is passed, in order."""

(
    GRAD_OUT,
    Q,
    K,
    V,
    S_IN,
    Z_IN,
    GRAD_Q,
    GRAD_K,
    GRAD_V,
    SCRATCH,
    SCRATCH_BYTES,
    NUM_QUERIES,
    NUM_KEYS,
    NUM_HEADS,
    NUM_TASKS,
    HEAD_DIM,
    VALUE_DIM,
    OUT_BATCH,
    OUT_TOKEN,
    OUT_HEAD,
    Q_BATCH,
    Q_TOKEN,
    Q_HEAD,
    K_BATCH,
    K_TOKEN,
    K_HEAD,
    V_BATCH,
    V_TOKEN,
    V_HEAD,
    THREADS,
    TASKS,
    OPTIONS,
) = range(len(BACKWARD_ARGUMENTS))

ONE = np.float32(1.0)


def backward_kernel(plan: CpuPlan, version: int) -> Callable[[Any], int]:
    """The backward pass for `plan`, to be compiled: takes a pointer to `BACKWARD_ARGUMENTS`.

    `version` is as in `forward_kernel`.
    """
    VERSION, LANES, MAP, DTYPE = version, plan.lanes, plan.map_number, plan.dtype_number
    PANEL, ROWS, UNROLL = plan.value_panel, plan.feature_rows, plan.unroll
    F_PANEL, SIGNED = plan.feature_panel, int(plan.signed)
    X_WIDTH, V_WIDTH, F_WIDTH = plan.head_width, plan.value_width, plan.feature_width
    # Where things are in a thread's scratch
    TABLE = 0  # S transposed, then dS transposed
    GRAD_STATE = F_WIDTH * V_WIDTH
    Z = GRAD_STATE + F_WIDTH * V_WIDTH
    GRAD_Z = Z + F_WIDTH
    XS = GRAD_Z + F_WIDTH  # phi(q), then phi(k)
    GS = XS + TOKENS * X_WIDTH  # dout, then v
    PRODUCTS = GS + TOKENS * V_WIDTH
    X_ROW = PRODUCTS + TOKENS * F_WIDTH
    V_ROW = X_ROW + X_WIDTH

    def backward(arguments):
        grad_out = pointer_to(arguments[GRAD_OUT], DTYPE)
        q = pointer_to(arguments[Q], DTYPE)
        k = pointer_to(arguments[K], DTYPE)
        v = pointer_to(arguments[V], DTYPE)
        saved_state = pointer_to(arguments[S_IN], FLOAT32)
        saved_z = pointer_to(arguments[Z_IN], FLOAT32)
        grad_q = pointer_to(arguments[GRAD_Q], DTYPE)
        grad_k = pointer_to(arguments[GRAD_K], DTYPE)
        grad_v = pointer_to(arguments[GRAD_V], DTYPE)
        options = as_float32(arguments)
        c, scaled_eps = options[2 * OPTIONS], options[2 * OPTIONS + 1]
        num_queries, num_keys = arguments[NUM_QUERIES], arguments[NUM_KEYS]
        num_heads = arguments[NUM_HEADS]
        D, E = arguments[HEAD_DIM], arguments[VALUE_DIM]
        features = D * (1 + SIGNED)
        thread = take_ticket(arguments, THREADS)
        scratch = pointer_to(arguments[SCRATCH] + thread * arguments[SCRATCH_BYTES], FLOAT32)
        task = take_ticket(arguments, TASKS)
        while task < arguments[NUM_TASKS]:
            image = task // num_heads
            head = task - image * num_heads
            clear(scratch, TABLE, 2 * F_WIDTH * (V_WIDTH + 1), LANES)
            for f in range(features):
                line = f if f < D else f - D + X_WIDTH
                at = (task * features + f) * E
                for e in range(E):
                    scratch[TABLE + e * F_WIDTH + line] = saved_state[at + e]
                scratch[Z + line] = saved_z[task * features + f]

            q_start = image * arguments[Q_BATCH] + head * arguments[Q_HEAD]
            out_start = image * arguments[OUT_BATCH] + head * arguments[OUT_HEAD]
            for first in range(0, num_queries, TOKENS):
                count = min(TOKENS, num_queries - first)
                for i in range(count):
                    row = q_start + (first + i) * arguments[Q_TOKEN]
                    stage_features(q, row, D, scratch, XS + i * X_WIDTH, X_WIDTH, LANES, MAP)
                    row = out_start + (first + i) * arguments[OUT_TOKEN]
                    stage(grad_out, row, E, scratch, GS + i * V_WIDTH, V_WIDTH, LANES)
                project(
                    scratch, GS, TABLE, PRODUCTS, count,
                    V_WIDTH, F_WIDTH, TOKEN_ROWS, F_PANEL, LANES,
                )  # fmt: skip
                for i in range(count):
                    x, g, t = XS + i * X_WIDTH, GS + i * V_WIDTH, PRODUCTS + i * F_WIDTH
                    product = feature_product(scratch, Z, x, X_WIDTH, LANES, SIGNED)
                    inverse = ONE / (product + scaled_eps)
                    w = feature_product(scratch, t, x, X_WIDTH, LANES, SIGNED) * inverse * inverse
                    for e in range(g, g + V_WIDTH, LANES):
                        store(scale(load(1, 1, LANES, scratch, e, 0), inverse), scratch, e, 0)
                    for f in range(0, F_WIDTH, LANES):
                        row = scale(load(1, 1, LANES, scratch, t + f, 0), inverse)
                        z_row = scale(load(1, 1, LANES, scratch, Z + f, 0), w)
                        store(subtract(row, z_row), scratch, t + f, 0)
                    add_features(scratch, GRAD_Z, x, -w, X_WIDTH, LANES, SIGNED)
                    input_gradient(scratch, t, x, X_ROW, X_WIDTH, LANES, MAP)
                    at = ((image * num_queries + first + i) * num_heads + head) * D
                    copy_row(scratch, X_ROW, D, grad_q, at, LANES)
                accumulate_features(
                    scratch, GRAD_STATE, XS, GS, count,
                    X_WIDTH, V_WIDTH, ROWS, PANEL, LANES, SIGNED,
                )  # fmt: skip

            # From here on dS and dz times c
            for f in range(GRAD_STATE, GRAD_STATE + F_WIDTH * V_WIDTH, LANES):
                store(scale(load(1, 1, LANES, scratch, f, 0), c), scratch, f, 0)
            for f in range(GRAD_Z, GRAD_Z + F_WIDTH, LANES):
                store(scale(load(1, 1, LANES, scratch, f, 0), c), scratch, f, 0)
            transpose(scratch, GRAD_STATE, TABLE, F_WIDTH, V_WIDTH)

            k_start = image * arguments[K_BATCH] + head * arguments[K_HEAD]
            v_start = image * arguments[V_BATCH] + head * arguments[V_HEAD]
            for first in range(0, num_keys, TOKENS):
                count = min(TOKENS, num_keys - first)
                for i in range(count):
                    row = k_start + (first + i) * arguments[K_TOKEN]
                    stage_features(k, row, D, scratch, XS + i * X_WIDTH, X_WIDTH, LANES, MAP)
                    row = v_start + (first + i) * arguments[V_TOKEN]
                    stage(v, row, E, scratch, GS + i * V_WIDTH, V_WIDTH, LANES)
                project(
                    scratch, GS, TABLE, PRODUCTS, count,
                    V_WIDTH, F_WIDTH, TOKEN_ROWS, F_PANEL, LANES,
                )  # fmt: skip
                for i in range(count):
                    x, t = XS + i * X_WIDTH, PRODUCTS + i * F_WIDTH
                    for f in range(0, F_WIDTH, LANES):
                        row = load(1, 1, LANES, scratch, t + f, 0)
                        z_row = load(1, 1, LANES, scratch, GRAD_Z + f, 0)
                        store(add(row, z_row), scratch, t + f, 0)
                    input_gradient(scratch, t, x, X_ROW, X_WIDTH, LANES, MAP)
                    token = (image * num_keys + first + i) * num_heads + head
                    copy_row(scratch, X_ROW, D, grad_k, token * D, LANES)
                    read(
                        scratch, GRAD_STATE, x, V_ROW, ONE,
                        X_WIDTH, V_WIDTH, UNROLL, PANEL, LANES, SIGNED,
                    )  # fmt: skip
                    copy_row(scratch, V_ROW, E, grad_v, token * E, LANES)
            task = take_ticket(arguments, TASKS)
        return VERSION

    return backward
