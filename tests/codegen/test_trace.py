"""An error inside a generated module names the line of the `.vit` text."""

from pathlib import Path

import pytest
import torch

from linvit_codegen import generate, write
from tests.codegen.conftest import Load
from tests.codegen.samples import bank, transformer

WRONG = torch.zeros(2, 16, 31)


def notes_of(model: torch.nn.Module, *arguments: torch.Tensor) -> list[str]:
    with pytest.raises((ValueError, AttributeError)) as caught:
        model(*arguments)
    return getattr(caught.value, "__notes__", [])


def test_notes_name_the_statements_innermost_first(load: Load) -> None:
    model = load(generate(bank())).Bank()
    del model.blocks[0].fuse
    notes = notes_of(model, torch.zeros(2, 5, 8), torch.zeros(2, 5, 8))
    assert notes == [
        "in hand.vit:3: `fused = x |> linear[8]@fuse` (block hand.Both)",
        "in hand.vit:9: `(x, fused) = Both(x, mem)@blocks` (block hand.Bank)",
    ]


def test_an_input_of_another_size_names_the_model(load: Load) -> None:
    model = load(generate(transformer())).Tiny()
    assert notes_of(model, WRONG) == ["in hand.vit:15: `Tiny` (block hand.Tiny)"]


def test_a_statement_on_several_lines_is_found(load: Load) -> None:
    model = load(generate(transformer())).Tiny()
    del model.layers[1].k
    (first, *_) = notes_of(model, torch.zeros(2, 16, 32))
    assert first.startswith("in hand.vit:10: `x += attend(y |> linear[32]@q |> Heads[4],")


def test_a_good_call_reads_no_map(load: Load, tmp_path: Path) -> None:
    module = load(generate(transformer()))
    for path in tmp_path.glob("*.map.json"):
        path.unlink()
    assert module.Tiny()(torch.zeros(2, 16, 32)).shape == (2, 10)
    assert notes_of(module.Tiny(), WRONG) == []


@pytest.mark.parametrize("damage", ["not json", "{}", '{"body": "0"}'])
def test_a_damaged_map_hides_nothing(load: Load, tmp_path: Path, damage: str) -> None:
    module = load(generate(transformer()))
    for path in tmp_path.glob("*.map.json"):
        path.write_text(damage)
    assert notes_of(module.Tiny(), WRONG) == []


def test_an_edited_file_gets_no_wrong_lines(load: Load, tmp_path: Path) -> None:
    module = load(generate(bank()))
    other = tmp_path / "other.py"
    write(generate(transformer()), other)
    (path,) = tmp_path.glob("generated_*.map.json")
    path.write_text(other.with_suffix(".map.json").read_text())
    assert notes_of(module.Bank(), torch.zeros(2, 5, 9), torch.zeros(2, 5, 8)) == []


def test_compiled_code_is_free_of_it(load: Load) -> None:
    model = load(generate(transformer())).Tiny().eval()
    x = torch.randn(2, 16, 32)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("B")},))
    torch.testing.assert_close(exported.module()(torch.cat((x, x))), model(torch.cat((x, x))))
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))
