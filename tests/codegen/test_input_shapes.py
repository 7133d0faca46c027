"""A model refuses images of another size, wherever and however it runs."""

from pathlib import Path

import pytest
import torch

from linvit_codegen import generate
from linvit_dsl.check import elaborate, find_spec, open_program
from linvit_dsl.graph.ir import Graph
from tests.codegen.conftest import Load

SMALL = {"d": "16", "heads": "2", "depth": "1"}
REFUSAL = r"expected \[B, 1, 8, 8\], got "


def digits() -> Graph:
    path, _ = find_spec("baseline")
    return elaborate(open_program(path), "BaselineViTDigits", SMALL).graph


@pytest.fixture
def model(load: Load) -> torch.nn.Module:
    """Give a small model of images [B, 1, 8, 8]."""
    return load(generate(digits())).BaselineViTDigits().eval()


@pytest.mark.parametrize(
    "shape", [(2, 1, 9, 9), (2, 1, 8, 9), (2, 3, 8, 8), (1, 8, 8), (2, 1, 1, 8, 8), ()]
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_another_size_is_refused(
    model: torch.nn.Module, shape: tuple[int, ...], device: str
) -> None:
    with pytest.raises(ValueError, match=REFUSAL) as caught:
        model.to(device)(torch.zeros(shape, device=device))
    assert str(caught.value).endswith(str(list(shape)))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("batch", [0, 1, 5])
def test_every_batch_is_taken(model: torch.nn.Module, batch: int, device: str) -> None:
    assert model.to(device)(torch.zeros(batch, 1, 8, 8, device=device)).shape == (batch, 10)


def test_compiled_it_takes_and_refuses_the_same(model: torch.nn.Module) -> None:
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for batch in (2, 3, 4):
        x = torch.randn(batch, 1, 8, 8)
        torch.testing.assert_close(compiled(x), model(x))
    with pytest.raises(Exception, match=REFUSAL):
        compiled(torch.zeros(2, 1, 9, 9))


def test_exported_the_batch_stays_free(model: torch.nn.Module) -> None:
    x = torch.randn(2, 1, 8, 8)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("B")},))
    many = torch.randn(7, 1, 8, 8)
    torch.testing.assert_close(exported.module()(many), model(many))


def test_what_depends_on_the_batch_is_not_checked(tmp_path: Path) -> None:
    path = tmp_path / "open.vit"
    path.write_text(
        """\
block F(a: [B, 4]) -> [B, 4] { return a |> linear[4] }
model M(a: [B, 4], b: [4, B], c: [B, B], d: [4]) -> [B, 4] {
  return F(a) + transpose[0, 1](b) + reduce["a b -> a 1", sum](c) + d
}
"""
    )
    text = generate(elaborate(open_program(path), "M").graph).text
    assert text.count("expect_shape") == 1
    assert "layers.expect_shape(a, 4)\n        # return" in text
