"""The primitive operators, one file each."""

from linvit_dsl.ops.linear import Linear
from linvit_dsl.ops.op import Attributes, Example, Op, OpProblem, Saved

ALL_OPS: tuple[type[Op], ...] = (Linear,)
"""Every operator. A new one is a file in this folder and its name in this list."""

OPS: dict[str, type[Op]] = {op.name: op for op in ALL_OPS}
"""By the word of the language."""

__all__ = ["ALL_OPS", "OPS", "Attributes", "Example", "Op", "OpProblem", "Saved"]
