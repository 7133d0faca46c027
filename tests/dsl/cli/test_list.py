"""`linvit list`: every shipped model, with the costs that `linvit cost` counts."""

import json

import pytest

from linvit_dsl.check import shipped_specs
from linvit_dsl.cli import main


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert main(["list", *words, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_shipped_spec_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys)
    assert {row["spec"] for row in rows} == set(shipped_specs())
    assert all(row["doc"] for row in rows if row["model"] == "BaselineViT")
    assert len({(row["spec"], row["model"]) for row in rows}) == len(rows)


def test_a_row_has_the_costs_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    baseline = listed(capsys, "baseline", "linear")[0]
    assert main(["cost", "baseline", "--format", "json"]) == 0
    costs = json.loads(capsys.readouterr().out)
    for name in ("model", "params", "macs", "flops", "activation_bytes"):
        assert baseline[name] == costs[name]
    assert baseline["input"] == [3, 32, 32]
    assert str(baseline["doc"]).startswith("The plain Vision Transformer")


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "linear"]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["model", "input", "params", "MACs", "kept", "what", "it", "is"]
    assert first.startswith("linear:LinearViT ")
    assert " 3×32×32  21,376,996  1,458,083,328 " in first


def test_a_narrow_terminal_cuts_the_last_column(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linvit_dsl.cli.list_specs._terminal_width", lambda: 90)
    assert main(["list", "linear"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 90
    assert any(line.endswith("...") for line in lines)


def test_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = listed(capsys, "--library")
    (attention,) = (block for block in blocks if block["name"] == "Attention")
    assert attention["module"] == "std.attention"
    assert "heads: dim" in list(attention["statics"])  # pyright: ignore[reportArgumentType]
    assert main(["list", "--library"]) == 0
    assert "std.ripple" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("riplevit",), "did you mean `ripplevit`?"),
        (("my.vit",), "linvit cost FILE"),
        (("--library", "linear"), "takes no spec"),
    ],
)
def test_words_that_make_no_sense(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_spec_that_is_rejected_does_not_hide_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from linvit_dsl.cli import list_specs
    from linvit_dsl.errors import Source, Span, SpecError, diagnose

    rows = list_specs._rows

    def failing(spec: str) -> object:
        if spec == "baseline":
            raise SpecError(diagnose("E0211", Span(Source("x.vit", ""), 0, 0), what="no model"))
        return rows(spec)

    monkeypatch.setattr(list_specs, "_rows", failing)
    assert main(["list", "baseline", "linear"]) == 1
    out, err = capsys.readouterr()
    assert "error[E0211]" in err
    assert "linear:LinearViT" in out
