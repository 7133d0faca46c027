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

from linvit_runtime.kernels.cpu.parts import (
    ONE,
    SOFTMAX,
    ZERO,
    accumulate,
    accumulate_by_sign,
    add_rows,
    clear,
    dot,
    dot_by_sign,
    fetch,
    fetch_ahead,
    fetch_to_write,
    multiply_row,
    project,
    project_features,
    read,
    stage,
    stage_features,
    to_query,
    transpose,
    write_input_gradient,
    write_row,
)
from linvit_runtime.kernels.cpu.plan import AHEAD, TOKEN_ROWS, CpuPlan
from linvit_runtime.kernels.cpu.plan import BLOCK as TOKENS
from linvit_runtime.kernels.cpu.tiles import FLOAT32, as_float32, pointer_to, take_ticket

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
    *("grad_q_batch", "grad_q_token", "grad_q_head"),
    *("grad_k_batch", "grad_k_token", "grad_k_head"),
    *("grad_v_batch", "grad_v_token", "grad_v_head"),
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
    GRAD_Q_BATCH,
    GRAD_Q_TOKEN,
    GRAD_Q_HEAD,
    GRAD_K_BATCH,
    GRAD_K_TOKEN,
    GRAD_K_HEAD,
    GRAD_V_BATCH,
    GRAD_V_TOKEN,
    GRAD_V_HEAD,
    THREADS,
    TASKS,
    OPTIONS,
) = range(len(BACKWARD_ARGUMENTS))


def backward_kernel(plan: CpuPlan, version: int) -> Callable[[Any], int]:
    """The backward pass for `plan`, to be compiled: takes a pointer to `BACKWARD_ARGUMENTS`.

    `version` is as in `forward_kernel`.
    """
    VERSION, LANES, MAP, DTYPE = version, plan.lanes, plan.map_number, plan.dtype_number
    PANEL, ROWS, UNROLL = plan.value_panel, plan.feature_rows, plan.unroll
    F_PANEL, SIGNED, LINE = plan.feature_panel, int(plan.signed), plan.cache_line
    X_WIDTH, V_WIDTH, F_WIDTH = plan.head_width, plan.value_width, plan.feature_width
    X_WHOLE, V_WHOLE, SIGN_PANEL = plan.whole_heads, plan.whole_values, plan.sign_panel
    T_WIDTH, (T_ROWS, T_PANEL) = plan.product_width, plan.product_tile
    STATE_LINE = plan.state_line
    # Where things are in a thread's scratch
    TABLE = 0  # S transposed, then dS transposed
    GRAD_STATE = F_WIDTH * V_WIDTH
    Z = GRAD_STATE + F_WIDTH * V_WIDTH
    GRAD_Z = Z + F_WIDTH
    XS = GRAD_Z + F_WIDTH  # phi(q), then phi(k)
    GS = XS + TOKENS * F_WIDTH  # dout, then v, then dv
    PRODUCTS = GS + TOKENS * V_WIDTH  # S dout, then dS v
    WEIGHTS = PRODUCTS + TOKENS * T_WIDTH
    COLUMNS = WEIGHTS + TOKENS
    LINES = COLUMNS

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
        D = X_WIDTH if X_WHOLE else arguments[HEAD_DIM]
        E = V_WIDTH if V_WHOLE else arguments[VALUE_DIM]
        features = D * (1 + SIGNED)
        q_token, out_token = arguments[Q_TOKEN], arguments[OUT_TOKEN]
        k_token, v_token = arguments[K_TOKEN], arguments[V_TOKEN]
        grad_q_token = arguments[GRAD_Q_TOKEN]
        grad_k_token, grad_v_token = arguments[GRAD_K_TOKEN], arguments[GRAD_V_TOKEN]
        thread = take_ticket(arguments, THREADS)
        scratch = pointer_to(arguments[SCRATCH] + thread * arguments[SCRATCH_BYTES], FLOAT32)
        task = take_ticket(arguments, TASKS)
        while task < arguments[NUM_TASKS]:
            image = task // num_heads
            head = task - image * num_heads
            if not X_WHOLE or not V_WHOLE or num_queries == 0:
                clear(scratch, TABLE, 2 * F_WIDTH * (V_WIDTH + 1), LANES)
            for half in range(1 + SIGNED):
                at, place = task * features + half * D, half * X_WIDTH
                transpose(saved_state, at * E, D, E, scratch, TABLE + place, F_WIDTH, LANES)
                for d in range(D):
                    scratch[Z + place + d] = saved_z[at + d]

            q_start = image * arguments[Q_BATCH] + head * arguments[Q_HEAD]
            out_start = image * arguments[OUT_BATCH] + head * arguments[OUT_HEAD]
            k_start = image * arguments[K_BATCH] + head * arguments[K_HEAD]
            v_start = image * arguments[V_BATCH] + head * arguments[V_HEAD]
            grad_q_start = image * arguments[GRAD_Q_BATCH] + head * arguments[GRAD_Q_HEAD]
            grad_k_start = image * arguments[GRAD_K_BATCH] + head * arguments[GRAD_K_HEAD]
            grad_v_start = image * arguments[GRAD_V_BATCH] + head * arguments[GRAD_V_HEAD]
            for first in range(0, num_queries, TOKENS):
                count = min(TOKENS, num_queries - first)
                for i in range(count):
                    row = q_start + (first + i) * q_token
                    stage_features(q, row, D, scratch, XS + i * F_WIDTH, X_WIDTH, LANES, MAP)
                    row = out_start + (first + i) * out_token
                    stage(grad_out, row, E, ONE, scratch, GS + i * V_WIDTH, V_WIDTH, LANES)
                project_features(
                    scratch, XS, GS, TABLE, PRODUCTS, count,
                    V_WIDTH, T_WIDTH, T_ROWS, T_PANEL, LANES, MAP,
                )  # fmt: skip
                for i in range(count):
                    x, t = XS + i * F_WIDTH, PRODUCTS + i * T_WIDTH
                    product = dot(scratch, x, Z, F_WIDTH, LANES)
                    inverse = ONE / (product + scaled_eps)
                    if SIGNED:
                        numerator = dot_by_sign(scratch, x, t, X_WIDTH, LANES)
                    else:
                        numerator = dot(scratch, x, t, F_WIDTH, LANES)
                    w = numerator * inverse * inverse
                    at = grad_q_start + (first + i) * grad_q_token
                    fetch_to_write(grad_q, at + AHEAD * grad_q_token, D, LINE)
                    write_input_gradient(
                        scratch, t, Z, x, inverse, w, numerator * inverse - w * product,
                        grad_q, at, D, X_WIDTH, LANES, MAP,
                    )  # fmt: skip
                    scratch[WEIGHTS + i] = -w
                    multiply_row(scratch, GS + i * V_WIDTH, V_WIDTH, inverse, LANES)
                add_rows(scratch, GRAD_Z, first, WEIGHTS, XS, count, F_WIDTH, F_PANEL, LANES)
                q_row, out_row = (
                    q_start + (first + TOKENS) * q_token,
                    out_start + (first + TOKENS) * out_token,
                )
                ahead = q, q_row, q_token, D, grad_out, out_row, out_token, E
                if first + TOKENS >= num_queries:
                    ahead = k, k_start, k_token, D, v, v_start, v_token, E
                if SIGN_PANEL:
                    clear(scratch, XS + count * F_WIDTH, (TOKENS - count) * F_WIDTH, LANES)
                    accumulate_by_sign(
                        scratch, GRAD_STATE, first, XS, COLUMNS, GS,
                        X_WIDTH, V_WIDTH, ahead, TOKENS, LINE, SIGN_PANEL, LANES,
                    )  # fmt: skip
                else:
                    accumulate(
                        scratch, GRAD_STATE, first, XS, GS, count,
                        F_WIDTH, V_WIDTH, ahead, TOKENS, LINE, ROWS, PANEL, LANES,
                    )  # fmt: skip

            # From here on dS and dz times c
            multiply_row(scratch, GRAD_STATE, F_WIDTH * V_WIDTH, c, LANES)
            multiply_row(scratch, GRAD_Z, F_WIDTH, c, LANES)
            transpose(scratch, GRAD_STATE, F_WIDTH, V_WIDTH, scratch, TABLE, F_WIDTH, LANES)

            # The next head's first queries and S are fetched in the last pass over this one's keys.
            task = take_ticket(arguments, TASKS)
            then = min(task, arguments[NUM_TASKS] - 1)
            next_image = then // num_heads
            next_head = then - next_image * num_heads
            q_next = next_image * arguments[Q_BATCH] + next_head * arguments[Q_HEAD]
            out_next = next_image * arguments[OUT_BATCH] + next_head * arguments[OUT_HEAD]
            for first in range(0, num_keys, TOKENS):
                count = min(TOKENS, num_keys - first)
                for i in range(count):
                    row = k_start + (first + i) * k_token
                    stage_features(k, row, D, scratch, XS + i * F_WIDTH, X_WIDTH, LANES, MAP)
                    row = v_start + (first + i) * v_token
                    stage(v, row, E, ONE, scratch, GS + i * V_WIDTH, V_WIDTH, LANES)
                project_features(
                    scratch, XS, GS, TABLE, PRODUCTS, count,
                    V_WIDTH, T_WIDTH, T_ROWS, T_PANEL, LANES, MAP,
                )  # fmt: skip
                k_row, v_row = (
                    k_start + (first + TOKENS) * k_token,
                    v_start + (first + TOKENS) * v_token,
                )
                ahead = k, k_row, k_token, D, v, v_row, v_token, E
                if first + TOKENS >= num_keys:
                    ahead = q, q_next, q_token, D, grad_out, out_next, out_token, E
                for i in range(count):
                    fetch_ahead(ahead, i, i + 1, LINE)
                    if first + TOKENS >= num_keys:
                        share = features * E // count + 1
                        at = then * features * E + i * share
                        fetch(saved_state, at, share, STATE_LINE)
                    x, t = XS + i * F_WIDTH, PRODUCTS + i * T_WIDTH
                    mean = ZERO
                    if MAP == SOFTMAX:
                        mean = dot(scratch, x, t, F_WIDTH, LANES)
                        mean += dot(scratch, x, GRAD_Z, F_WIDTH, LANES)
                    at = grad_k_start + (first + i) * grad_k_token
                    fetch_to_write(grad_k, at + AHEAD * grad_k_token, D, LINE)
                    write_input_gradient(
                        scratch, t, GRAD_Z, x, ONE, -ONE, mean,
                        grad_k, at, D, X_WIDTH, LANES, MAP,
                    )  # fmt: skip
                    at = grad_v_start + (first + i) * grad_v_token
                    fetch_to_write(grad_v, at + AHEAD * grad_v_token, E, LINE)
                    if SIGNED:
                        to_query(scratch, x, LINES, X_WIDTH, V_WIDTH, LANES)
                        read(
                            scratch, GRAD_STATE, x, LINES, ONE, GS + i * V_WIDTH,
                            grad_v, at, E, X_WIDTH, V_WIDTH, UNROLL, PANEL, LANES,
                        )  # fmt: skip
                if not SIGNED:
                    project(
                        scratch, XS, GRAD_STATE, GS, count,
                        F_WIDTH, V_WIDTH, TOKEN_ROWS, PANEL, LANES,
                    )  # fmt: skip
                    for i in range(count):
                        at = grad_v_start + (first + i) * grad_v_token
                        write_row(scratch, GS + i * V_WIDTH, ONE, grad_v, at, E, LANES)
        return VERSION

    return backward
