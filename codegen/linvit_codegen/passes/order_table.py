"""Written by benchmarks/attention_order.py: measured, not to be edited."""

MACHINE = "none yet"
DATE = ""

BREAK_EVEN: dict[tuple[str, int], int] = {}
"""Feature map, head width -> up to how many tokens `order="quadratic"` is faster."""
