"""What operators that only move numbers have in common."""

from __future__ import annotations

from typing import Any

from linvit_dsl.graph.size import Size
from linvit_dsl.ops.op import Op, Saved, Types


class Movement(Op, abstract=True):
    """Base of operators that compute nothing: no multiply-adds, and nothing kept for backward."""

    family = "glue"

    @staticmethod
    def macs(attributes: Any, arguments: Types, results: Types) -> Size:
        return 0

    @staticmethod
    def saved(attributes: Any, arguments: Types) -> Saved:
        return Saved()
