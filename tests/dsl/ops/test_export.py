"""The code of every operator exports with a batch of any size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from linvit_dsl.graph.ir import TensorType
from linvit_dsl.ops import ALL_OPS
from linvit_dsl.ops.op import BATCH
from tests.dsl.ops.checks import Case, as_tuple


def takes_images(case: Case) -> bool:
    """Whether the batch is the first axis of an argument, and nothing else depends on it."""
    firsts = [type_.sizes[0] == BATCH for type_ in case.types]
    rest = [size for type_ in case.types for size in type_.sizes if not isinstance(size, int)]
    return any(firsts) and len(rest) == sum(firsts)


CASES = [
    case for op in ALL_OPS for case in (Case(op, example) for example in op.examples())
    if takes_images(case)
]  # fmt: skip


class Everything(nn.Module):
    """All operators side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(case.module() for case in CASES)

    def forward(self, images: Tensor, arguments: list[list[Tensor]]) -> list[tuple[Tensor, ...]]:
        """`images` only tells how many there are."""
        pairs = zip(self.parts, arguments, strict=True)
        return [as_tuple(part(images.shape[0], *given)) for part, given in pairs]


def inputs(batch: int) -> tuple[Tensor, list[list[Tensor]]]:
    return torch.zeros(batch), [list(case.arguments(batch, torch.float32)) for case in CASES]


def moving(type_: TensorType, batch: torch.export.Dim) -> dict[int, torch.export.Dim] | None:
    return {0: batch} if type_.sizes[0] == BATCH else None


@pytest.mark.slow
def test_one_program_serves_every_batch_size() -> None:
    assert {case.op.name for case in CASES} >= {"attend", "conv2d", "expand", "rearrange", "unfold"}
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = ({0: batch}, [[moving(type_, batch) for type_ in case.types] for case in CASES])
    model = Everything().eval()
    program = torch.export.export(model, inputs(3), dynamic_shapes=shapes)
    for count in (1, 5):
        torch.testing.assert_close(program.module()(*inputs(count)), model(*inputs(count)))
