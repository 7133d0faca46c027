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

from linvit_runtime.kernels.cpu.parts import (
    ONE,
    accumulate,
    accumulate_by_sign,
    add_rows,
    clear,
    dot,
    fetch,
    fetch_ahead,
    multiply_row,
    project,
    read,
    stage,
    stage_features,
    stage_query,
    write_row,
)
from linvit_runtime.kernels.cpu.plan import AHEAD, TOKEN_ROWS, CpuPlan
from linvit_runtime.kernels.cpu.plan import BLOCK as TOKENS
from linvit_runtime.kernels.cpu.tiles import (
    FLOAT32,
    as_float32,
    load_row,
    pointer_to,
    store_row,
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


def forward_kernel(plan: CpuPlan, version: int) -> Callable[[Any], int]:
    """The forward pass for `plan`, to be compiled: takes a pointer to `FORWARD_ARGUMENTS`.

    `version` is returned only so that it is one of the constants that Numba's cache compares: it
    does not see changes of the kernel's parts in other files.
    """
    VERSION, LANES, MAP, DTYPE = version, plan.lanes, plan.map_number, plan.dtype_number
    PANEL, ROWS, UNROLL = plan.value_panel, plan.feature_rows, plan.unroll
    F_PANEL, SIGNED, LINE = plan.feature_panel, int(plan.signed), plan.cache_line
    X_WIDTH, V_WIDTH, F_WIDTH = plan.head_width, plan.value_width, plan.feature_width
    X_WHOLE, V_WHOLE = plan.whole_heads, plan.whole_values
    SIGN_PANEL = plan.sign_panel
    # Where things are in a thread's scratch
    STATE, Z = 0, F_WIDTH * V_WIDTH
    KEYS = Z + F_WIDTH
    VALUES = KEYS + TOKENS * F_WIDTH
    COLUMNS = VALUES + TOKENS * V_WIDTH
    ONES = COLUMNS + (TOKENS * X_WIDTH if SIGN_PANEL else 0)
    QUERY, LINES, SPARE = KEYS, KEYS + X_WIDTH, VALUES  # once the keys are summed

    def forward(arguments):
        q = pointer_to(arguments[Q], DTYPE)
        k = pointer_to(arguments[K], DTYPE)
        v = pointer_to(arguments[V], DTYPE)
        out = pointer_to(arguments[OUT], DTYPE)
        options = as_float32(arguments)
        c, scaled_eps = options[2 * OPTIONS], options[2 * OPTIONS + 1]
        num_queries, num_keys = arguments[NUM_QUERIES], arguments[NUM_KEYS]
        num_heads = arguments[NUM_HEADS]
        D = X_WIDTH if X_WHOLE else arguments[HEAD_DIM]
        E = V_WIDTH if V_WHOLE else arguments[VALUE_DIM]
        features = D * (1 + SIGNED)
        k_token, v_token = arguments[K_TOKEN], arguments[V_TOKEN]
        q_token, out_token = arguments[Q_TOKEN], num_heads * E
        thread = take_ticket(arguments, THREADS)
        scratch = pointer_to(arguments[SCRATCH] + thread * arguments[SCRATCH_BYTES], FLOAT32)
        for i in range(TOKENS):
            scratch[ONES + i] = ONE
        task = take_ticket(arguments, TASKS)
        while task < arguments[NUM_TASKS]:
            image = task // num_heads
            head = task - image * num_heads
            k_start = image * arguments[K_BATCH] + head * arguments[K_HEAD]
            v_start = image * arguments[V_BATCH] + head * arguments[V_HEAD]
            q_start = image * arguments[Q_BATCH] + head * arguments[Q_HEAD]
            out_start = (image * num_queries * num_heads + head) * E
            if num_keys == 0:
                clear(scratch, STATE, F_WIDTH * V_WIDTH + F_WIDTH, LANES)
            for first in range(0, num_keys, TOKENS):
                count = min(TOKENS, num_keys - first)
                for i in range(count):
                    row = k_start + (first + i) * arguments[K_TOKEN]
                    stage_features(k, row, D, scratch, KEYS + i * F_WIDTH, X_WIDTH, LANES, MAP)
                    row = v_start + (first + i) * arguments[V_TOKEN]
                    # c rides on v
                    stage(v, row, E, c, scratch, VALUES + i * V_WIDTH, V_WIDTH, LANES)
                add_rows(scratch, Z, first, ONES, KEYS, count, F_WIDTH, F_PANEL, LANES)
                k_next, v_next = (first + TOKENS) * k_token, (first + TOKENS) * v_token
                ahead = k, k_start + k_next, k_token, D, v, v_start + v_next, v_token, E
                if first + TOKENS >= num_keys:
                    ahead = q, q_start, q_token, D, out, out_start, out_token, E
                if SIGN_PANEL:
                    clear(scratch, KEYS + count * F_WIDTH, (TOKENS - count) * F_WIDTH, LANES)
                    accumulate_by_sign(
                        scratch, STATE, first, KEYS, COLUMNS, VALUES,
                        X_WIDTH, V_WIDTH, ahead, TOKENS, LINE, SIGN_PANEL, LANES,
                    )  # fmt: skip
                else:
                    accumulate(
                        scratch, STATE, first, KEYS, VALUES, count,
                        F_WIDTH, V_WIDTH, ahead, TOKENS, LINE, ROWS, PANEL, LANES,
                    )  # fmt: skip
            multiply_row(scratch, Z, F_WIDTH, c, LANES)
            if arguments[S_OUT] != 0:
                saved_state = pointer_to(arguments[S_OUT], FLOAT32)
                saved_z = pointer_to(arguments[Z_OUT], FLOAT32)
                for f in range(features):
                    line = f if f < D else f - D + X_WIDTH
                    place, at = STATE + line * V_WIDTH, (task * features + f) * E
                    for e in range(0, E, LANES):
                        row = load_row(scratch, place, e, V_WIDTH, ONE, LANES)
                        store_row(row, saved_state, at, e, E, LANES)
                    saved_z[task * features + f] = scratch[Z + line]
            # The next head's first keys are fetched while this one's queries are answered.
            task = take_ticket(arguments, TASKS)
            then = min(task, arguments[NUM_TASKS] - 1)
            next_image = then // num_heads
            next_head = then - next_image * num_heads
            k_next = next_image * arguments[K_BATCH] + next_head * arguments[K_HEAD]
            v_next = next_image * arguments[V_BATCH] + next_head * arguments[V_HEAD]
            ahead = k, k_next, k_token, D, v, v_next, v_token, E
            for first in range(0, 0 if SIGNED else num_queries, TOKENS):
                count = min(TOKENS, num_queries - first)
                for i in range(count):
                    row = q_start + (first + i) * q_token
                    fetch(q, row + AHEAD * q_token, D, LINE)
                    stage_features(q, row, D, scratch, KEYS + i * F_WIDTH, X_WIDTH, LANES, MAP)
                project(
                    scratch, KEYS, STATE, VALUES, count,
                    F_WIDTH, V_WIDTH, TOKEN_ROWS, PANEL, LANES,
                )  # fmt: skip
                for i in range(count):
                    product = dot(scratch, KEYS + i * F_WIDTH, Z, F_WIDTH, LANES)
                    inverse = ONE / (product + scaled_eps)
                    at = out_start + (first + i) * out_token
                    if first == 0:
                        fetch_ahead(ahead, i, i + 1, LINE)
                    write_row(scratch, VALUES + i * V_WIDTH, inverse, out, at, E, LANES)
            for n in range(num_queries if SIGNED else 0):  # half of the state for each query
                row = q_start + n * q_token
                at = out_start + n * out_token
                fetch(q, row + AHEAD * q_token, D, LINE)
                fetch(out, at + AHEAD * out_token, E, LINE)
                if n < TOKENS:
                    fetch_ahead(ahead, n, n + 1, LINE)
                product = stage_query(q, row, D, scratch, QUERY, LINES, Z, X_WIDTH, V_WIDTH, LANES)
                inverse = ONE / (product + scaled_eps)
                read(
                    scratch, STATE, QUERY, LINES, inverse, SPARE, out, at, E,
                    X_WIDTH, V_WIDTH, UNROLL, PANEL, LANES,
                )  # fmt: skip
        return VERSION

    return forward
