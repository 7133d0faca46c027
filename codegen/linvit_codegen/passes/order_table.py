"""Written by benchmarks/attention_order.py: measured, not to be edited."""

MACHINE = "2-core-x86_64, torch 2.13.0+cpu, 1 thread"
DATE = "2026-11-21"

BREAK_EVEN: dict[tuple[str, int], int] = {
    ("split_relu", 8): 0,
    ("split_relu", 16): 0,
    ("split_relu", 32): 0,
    ("split_relu", 64): 8,
    ("relu", 8): 0,
    ("relu", 16): 0,
    ("relu", 32): 0,
    ("relu", 64): 0,
    ("elu_plus_one", 8): 0,
    ("elu_plus_one", 16): 0,
    ("elu_plus_one", 32): 0,
    ("elu_plus_one", 64): 0,
    ("softmax", 8): 0,
    ("softmax", 16): 0,
    ("softmax", 32): 0,
    ("softmax", 64): 16,
    ("identity", 8): 0,
    ("identity", 16): 0,
    ("identity", 32): 0,
    ("identity", 64): 4,
}
"""Feature map, head width -> up to how many tokens `order="quadratic"` is faster."""
