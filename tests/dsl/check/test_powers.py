"""`^` between a tensor and a number, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from linvit_dsl.check import elaborate, open_program
from linvit_dsl.errors import SpecError
from linvit_dsl.graph.ir import Apply


def applied(expression: str, folder: Path) -> list[tuple[str, dict[str, object]]]:
    """The operators of a model that returns `expression` of its image `x` [B, 4]."""
    path = folder / "m.vit"
    path.write_text(f"model M(x: [B, 4]) -> [B, 4] {{\n  return {expression}\n}}\n")
    nodes = elaborate(open_program(path)).graph.walk()
    return [(n.op.name, dict(n.attributes)) for n in nodes if isinstance(n, Apply)]


@pytest.mark.parametrize(
    ("expression", "exponent"),
    [("x ^ 3", 3.0), ("x ^ (1/2)", 0.5), ("x ^ -1", -1.0), ("x ^ 2^3", 8.0), ("pow[2](x)", 2.0)],
)
def test_a_tensor_to_the_power_of_a_number(
    expression: str, exponent: float, tmp_path: Path
) -> None:
    assert applied(expression, tmp_path) == [("pow", {"exponent": exponent})]


def test_it_binds_tighter_than_a_sign_and_a_product(tmp_path: Path) -> None:
    assert [name for name, _ in applied("-x ^ 2", tmp_path)] == ["pow", "neg"]
    assert [name for name, _ in applied("x * x ^ 2", tmp_path)] == ["pow", "mul"]


@pytest.mark.parametrize("expression", ["2 ^ x", "x ^ x", "x // 2", "x % 2"])
def test_nothing_else_of_the_kind_is_defined(expression: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="E0309"):
        applied(expression, tmp_path)
