"""What operators that treat every number alone have in common."""

from __future__ import annotations

from typing import Any

from linvit_dsl.graph.size import Size
from linvit_dsl.ops.op import Op, Types


class Pointwise(Op, abstract=True):
    """Base of operators from one tensor to one of the same shape, number by number."""

    family = "glue"

    @staticmethod
    def rule(attributes: Any, arguments: Types) -> Types:
        return arguments

    @staticmethod
    def macs(attributes: Any, arguments: Types, results: Types) -> Size:
        return 0
