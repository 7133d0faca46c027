"""Every operator passes every check on all of its examples; broken ones fail the right check."""

from __future__ import annotations

import pytest
import torch

from linvit_dsl.ops import ALL_OPS, Op
from tests.dsl.ops.broken import BROKEN
from tests.dsl.ops.checks import CHECKS, Case

torch.set_num_threads(1)

CASES = [
    pytest.param(Case(op, example), id=f"{op.name}-{number}")
    for op in ALL_OPS
    for number, example in enumerate(op.examples())
]


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("case", CASES)
def test_op(case: Case, check: str) -> None:
    CHECKS[check](case)


@pytest.mark.parametrize(("op", "expected"), [pytest.param(*b, id=b[0].__name__) for b in BROKEN])
def test_a_broken_op_fails_one_check(op: type[Op], expected: str) -> None:
    failed: set[str] = set()
    for example in op.examples():
        for name, check in CHECKS.items():
            try:
                check(Case(op, example))
            except (AssertionError, RuntimeError):
                failed.add(name)
    assert failed == {expected}
