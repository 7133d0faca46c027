"""The CPU forward kernel: each thread takes one head of one image after another.

Keys and values stream through a block of scratch into the state S and z; then each query reads
them. Nothing else is written: no features, no copies of q, k or v in other layouts.
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
    read,
    stage,
    stage_features,
)
from linvit_runtime.kernels.cpu.plan import BLOCK as TOKENS
from linvit_runtime.kernels.cpu.plan import CpuPlan
from linvit_runtime.kernels.cpu.tiles import (
    FLOAT32,
    as_float32,
    copy_row,
    load,
    pointer_to,
    scale,
    store,
    take_ticket,
)

FORWARD_ARGUMENTS = (
    *("q", "k", "v", "out", "S", "z", "scratch"),  # addresses
    *(
        "scratch_bytes",
        "num_queries",
        "num_keys",
        "num_heads",
        "num_tasks",
        "head_dim",
        "value_dim",
    ),
    *("q_batch", "q_token", "q_head"),  # strides
    *("k_batch", "k_token", "k_head"),
    *("v_batch", "v_token", "v_head"),
    *("threads", "tasks"),  # counters, from 0
    "options",  # two float32: the scale c of the STATE, and c eps
)
"""The int64 that the kernel is passed, in order."""

(
    Q,
    K,
    V,
    OUT,
    S_OUT,
    Z_OUT,
    SCRATCH,
    SCRATCH_BYTES,
    NUM_QUERIES,
    NUM_KEYS,
    NUM_HEADS,
    NUM_TASKS,
    HEAD_DIM,
    VALUE_DIM,
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
) = range(len(FORWARD_ARGUMENTS))


ONE = np.float32(1.0)


def forward_kernel(plan: CpuPlan, version: int) -> Callable[[Any], int]:
    """The forward pass for `plan`, to be compiled: takes a pointer to `FORWARD_ARGUMENTS`.

    `version` is returned only so that it is one of the constants that Numba's cache compares: it
    does not see changes of the kernel's parts in other files.
    """
    VERSION, LANES, MAP, DTYPE = version, plan.lanes, plan.map_number, plan.dtype_number
    PANEL, ROWS, UNROLL = plan.value_panel, plan.feature_rows, plan.unroll
    SIGNED = int(plan.signed)
    X_WIDTH, V_WIDTH, F_WIDTH = plan.head_width, plan.value_width, plan.feature_width
    # Where things are in a thread's scratch
    STATE, Z = 0, F_WIDTH * V_WIDTH
    KEYS = Z + F_WIDTH
    VALUES = KEYS + TOKENS * X_WIDTH
    QUERY = VALUES + TOKENS * V_WIDTH
    RESULT = QUERY + X_WIDTH

    def forward(arguments):
        q = pointer_to(arguments[Q], DTYPE)
        k = pointer_to(arguments[K], DTYPE)
        v = pointer_to(arguments[V], DTYPE)
        out = pointer_to(arguments[OUT], DTYPE)
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
            k_start = image * arguments[K_BATCH] + head * arguments[K_HEAD]
            v_start = image * arguments[V_BATCH] + head * arguments[V_HEAD]
            clear(scratch, STATE, F_WIDTH * V_WIDTH + F_WIDTH, LANES)
            for first in range(0, num_keys, TOKENS):
                count = min(TOKENS, num_keys - first)
                for i in range(count):
                    row = k_start + (first + i) * arguments[K_TOKEN]
                    place = KEYS + i * X_WIDTH
                    stage_features(k, row, D, scratch, place, X_WIDTH, LANES, MAP)
                    add_features(scratch, Z, place, c, X_WIDTH, LANES, SIGNED)
                    row = v_start + (first + i) * arguments[V_TOKEN]
                    place = VALUES + i * V_WIDTH
                    stage(v, row, E, scratch, place, V_WIDTH, LANES)
                    for e in range(place, place + V_WIDTH, LANES):  # c rides on v
                        store(scale(load(1, 1, LANES, scratch, e, 0), c), scratch, e, 0)
                accumulate_features(
                    scratch,
                    STATE,
                    KEYS,
                    VALUES,
                    count,
                    X_WIDTH,
                    V_WIDTH,
                    ROWS,
                    PANEL,
                    LANES,
                    SIGNED,
                )
            if arguments[S_OUT] != 0:
                saved_state = pointer_to(arguments[S_OUT], FLOAT32)
                saved_z = pointer_to(arguments[Z_OUT], FLOAT32)
                for f in range(features):
                    line = f if f < D else f - D + X_WIDTH
                    at = (task * features + f) * E
                    copy_row(scratch, STATE + line * V_WIDTH, E, saved_state, at, LANES)
                    saved_z[task * features + f] = scratch[Z + line]
            q_start = image * arguments[Q_BATCH] + head * arguments[Q_HEAD]
            for n in range(num_queries):
                row = q_start + n * arguments[Q_TOKEN]
                stage_features(q, row, D, scratch, QUERY, X_WIDTH, LANES, MAP)
                product = feature_product(scratch, Z, QUERY, X_WIDTH, LANES, SIGNED)
                inverse = ONE / (product + scaled_eps)
                read(
                    scratch, STATE, QUERY, RESULT, inverse,
                    X_WIDTH, V_WIDTH, UNROLL, PANEL, LANES, SIGNED,
                )  # fmt: skip
                at = ((image * num_queries + n) * num_heads + head) * E
                copy_row(scratch, RESULT, E, out, at, LANES)
            task = take_ticket(arguments, TASKS)
        return VERSION

    return forward
