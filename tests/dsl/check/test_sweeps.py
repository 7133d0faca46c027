"""Sweeps: their points, what is wrong with them, and that each is what `--set` would give."""

from __future__ import annotations

from pathlib import Path

import pytest

from linvit_dsl import api
from linvit_dsl.check import Sweep, elaborate, examine, find_spec, open_program, recipe_for
from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.models import elaborate_model
from linvit_dsl.check.recipe import field_names
from linvit_dsl.check.sweeps import check_sweeps
from linvit_dsl.errors import Diagnostic, SpecError
from linvit_dsl.graph import limits
from linvit_dsl.graph.cost import cost

MODEL = """\
const sizes = [2, 4]
block Plus(x: [*s]) -> [*s] { return x + 1 }
block Times[k: real](x: [*s]) -> [*s] { return k * x }
model M[
  heads: dim = 4, d: dim = 8, scale: real = 1, word: text = "a", act: block = relu,
](img: [B, 1, 8, 8]) -> [B, d] {
  dim c = d / heads
  require word in ["a", "b"], "word is a or b, not {word}"
  x = img |> rearrange["b k h w -> b (k h w)"]
  return x |> linear[c]@down |> act |> Times[scale] |> linear[d]@up
}
recipe quick {
  data { name = "digits"; batch = 64 }
  optimizer { lr = 1e-3 }
  schedule { epochs = 20ep; warmup = 2ep }
}
train M with quick
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def swept(lines: str, model: str = MODEL) -> tuple[tuple[Diagnostic, ...], Sweep | None]:
    """The findings about one sweep, and it if there are none."""
    Path("m.vit").write_text(f"{model}sweep s of M {{\n{lines}\n}}\n", encoding="utf-8")
    result = examine(open_program("m.vit"))
    return result.diagnostics, result.sweeps[0] if result.sweeps else None


def points(lines: str) -> list[dict[str, str]]:
    """The values at every point."""
    found, sweep = swept(lines)
    assert found == ()
    assert sweep is not None
    return [dict(point.values) for point in sweep.points]


def codes(lines: str) -> list[str]:
    found, sweep = swept(lines)
    assert sweep is None
    return [d.code for d in found]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("heads in [1, 2]", [{"heads": "1"}, {"heads": "2"}]),
        ("heads in 1..2", [{"heads": "1"}, {"heads": "2"}]),
        ("heads in sizes", [{"heads": "2"}, {"heads": "4"}]),
        ("heads in [2 * i for i in 1..2]", [{"heads": "2"}, {"heads": "4"}]),
        ("scale in [0.5, 1 / 3]", [{"scale": "0.5"}, {"scale": "1 / 3"}]),
        ("scale in [i / 3 for i in [1, 3]]", [{"scale": "1/3"}, {"scale": "1"}]),
        ('word in ["a", "b"]', [{"word": '"a"'}, {"word": '"b"'}]),
        ("act in [gelu, Plus]", [{"act": "gelu"}, {"act": "Plus"}]),
        (
            "(heads, d) in [(1, 4), (2, 8)]",
            [{"heads": "1", "d": "4"}, {"heads": "2", "d": "8"}],
        ),
        ("(heads, d) in [(i, 2 * i) for i in [1]]", [{"heads": "1", "d": "2"}]),
        (
            "heads in [1, 2]; seed in [0, 1]",
            [{"heads": h, "seed": s} for h in "12" for s in "01"],
        ),
        ("heads in 1..8; where 8 % heads == 0", [{"heads": h} for h in "1248"]),
        (
            "heads in [1, 2]; d in [1, 2]; where d % heads == 0; where heads > 1",
            [{"heads": "2", "d": "2"}],
        ),
        ("schedule.decay in [cosine, none]", [{"schedule.decay": w} for w in ("cosine", "none")]),
        ("schedule.epochs in [20ep, 30ep]", [{"schedule.epochs": f"{n}ep"} for n in (20, 30)]),
        ("(d, optimizer.lr) in [(4, 1e-4)]", [{"d": "4", "optimizer.lr": "1e-4"}]),
        ("heads in [1]; d = 4; schedule { epochs = 5 }", [{"heads": "1"}]),
        ("heads in [1]; schedule.epochs = 5ep; where schedule.epochs == 5", [{"heads": "1"}]),
    ],
)
def test_points(lines: str, expected: list[dict[str, str]]) -> None:
    assert points(lines) == expected


def test_what_a_runner_needs_of_a_point() -> None:
    _, sweep = swept('(heads, word) in [(1, "a b")]; optimizer.lr in [1e-4]; d = 4; seed = 7')
    assert sweep is None  # The word is refused.
    _, sweep = swept('(heads, word) in [(1, "b")]; optimizer.lr in [1e-4]; d = 4; seed = 7')
    assert sweep is not None
    assert (sweep.name, sweep.model, sweep.axes) == ("s", "M", ("heads", "word", "optimizer.lr"))
    (point,) = sweep.points
    assert point.name == "heads=1,word=_b_,optimizer.lr=1e-4"
    assert point.overrides == {"heads": "1", "word": '"b"', "d": "4"}
    assert point.recipe_overrides == {"optimizer.lr": "1e-4", "seed": "7"}
    program = open_program("m.vit")
    recipe = recipe_for(program, "M", point.recipe_overrides)
    assert (recipe.optimizer.lr, recipe.seed, recipe.data.batch) == (1e-4, 7, 64)
    graph = elaborate(program, "M", point.overrides).graph
    assert str(graph.outputs[0].type) == "[B, 4]"


def test_names_of_points_stay_apart() -> None:
    _, sweep = swept("scale in [1 / 3, 1_3]")
    assert sweep is not None
    assert len({point.name for point in sweep.points}) == 2


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("heads in [1, 3]", ["E0520"]),
        ("heads in [3, 5, 6, 7]", ["E0520"] * 3),
        ("heads in [0]", ["E0520"]),
        ('heads in ["a"]', ["E0520"]),
        ('word in ["c"]', ["E0520"]),
        ("haeds in [1]", ["E0521"]),
        ("lr in [1e-4]", ["E0521"]),
        ("c in [1]", ["E0521"]),
        ("heads in [1, 2]; where heads > 2", ["E0523"]),
        ("heads in []", ["E0523"]),
        ("heads = 2", ["E0523"]),
        ("heads in [1, 2, 1]", ["E0540"]),
        ("scale in [0.5, 1 / 2]", ["E0540"]),
        ("heads in [k // 2 for k in 2..4]", ["E0540"]),
        ("(heads, d) in [(1, 4), (1, 8), (1, 4)]", ["E0540"]),
        ("schedule.decay in [cosine, none, cosine]", ["E0540"]),
        ("act in [relu, gelu, relu]", ["E0540"]),
        ("", ["E0523"]),
        ("d in 1..40; heads in 1..40", ["E0525"]),
        ("heads in [1]; heads in [2]", ["E0526"]),
        ("heads in [1]; heads = 2", ["E0526"]),
        ("(heads, heads) in [(1, 2)]", ["E0526"]),
        ("heads in [1]; seed = 1; seed = 2", ["E0526"]),
        ("heads in [1]; optimizer { lr = 1e-4 }; optimizer.lr = 1e-3", ["E0526"]),
        ("seed in [-1]", ["E0527"]),
        ("optimizer.lr in [1e-4, 2]", ["E0527"]),
        ("schedule.warmup in [30ep]", ["E0527"]),
        ("heads in [3]; optimizer.lr in [2]", ["E0520", "E0527"]),
        ("(heads, d) in [(1, 2, 3)]", ["E0307"]),
        ("(heads, d) in [1, 2]", ["E0307"]),
        ("heads in 3", ["E0310"]),
        ("heads in [1]; where 3", ["E0310"]),
        ("heads in [1]; where hedas > 1", ["E0209"]),
        ("heads in [one]", ["E0209"]),
    ],
)
def test_what_is_wrong(lines: str, expected: list[str]) -> None:
    assert codes(lines) == expected


@pytest.mark.parametrize(
    "lines", ["heads in {1, 2}", "heads: 1..2", "heads in [1] where heads > 0"]
)
def test_points_that_a_syntax_error_took_away_are_not_missed(lines: str) -> None:
    found, sweep = swept(lines)
    assert sweep is None
    assert {d.code[:3] for d in found} == {"E01"}


def test_what_a_sweep_without_points_lacks() -> None:
    def told(lines: str) -> tuple[str, list[tuple[str, str]]]:
        (found,), _ = swept(lines)
        return found.message, [(label.span.text, label.text) for label in found.secondary]

    assert told("heads = 2") == ("sweep `s` varies nothing", [])
    assert told("heads in [1]; d in []") == ("sweep `s` has no points", [("[]", "no values")])
    none = "sweep `s` has no points"
    lines = "heads in [1, 2]; where heads > 2"
    assert told(lines) == (none, [("heads > 2", "true at none of 2 combinations")])
    assert points("heads in [2]; d = 4") == [{"heads": "2"}]


def test_an_epoch_is_no_step() -> None:
    assert len(points("schedule.warmup in [5ep, 5it]")) == 2
    assert codes("schedule.warmup in [5ep, 5]") == ["E0540"]


def test_a_misspelt_axis_has_a_fix_where_one_is_meant() -> None:
    (found,), _ = swept("haeds in [1]")
    assert [fix.replacement for fix in found.fixes] == ["heads"]
    (found,), _ = swept("lr in [1e-4]")
    assert [fix.replacement for fix in found.fixes] == ["optimizer.lr"]
    # `name` is a field of the data, and of the optimizer too.
    (found,), _ = swept('name in ["x"]')
    assert found.fixes == ()


def test_a_field_of_a_recipe_needs_one() -> None:
    untrained = MODEL.replace("train M with quick", "")
    found, _ = swept("seed in [0]", untrained)
    assert [d.code for d in found] == ["E0524"]
    assert swept("heads in [1]", untrained)[0] == ()


def test_a_sweep_of_something_else_or_twice() -> None:
    Path("m.vit").write_text(
        f"{MODEL}sweep s of N {{ k in [1] }}\nsweep s of Plus {{ k in [1] }}\n"
    )
    assert [d.code for d in examine(open_program("m.vit")).diagnostics] == ["E0522", "E0522"]
    Path("m.vit").write_text(MODEL + "sweep s of M { heads in [1] }\n" * 2)
    assert [d.code for d in examine(open_program("m.vit")).diagnostics] == ["E0526"]


def test_the_error_of_a_point_names_it_and_its_cause() -> None:
    (found,), _ = swept("heads in [2, 3]; scale in [0.5]")
    assert found.message == (
        "sweep `s` fails at heads = 3, scale = 0.5: `d` = 8 cannot be split into 3 heads (E0301)"
    )
    assert found.primary.span.text == "3"
    assert found.secondary[0].span.text == "d / heads"
    assert "heads = 3   from sweep `s`" in found.notes[1]


def test_many_failures_are_counted() -> None:
    found, _ = swept("heads in [3, 5, 6, 7]; scale in [1]")
    assert found[-1].notes[-1] == "1 more of the 4 points fail"


def test_points_that_share_a_broken_block_all_fail() -> None:
    """The second meets the block in the elaborator's memory, where its error was reported."""
    found, _ = swept("scale in [1, 2]; heads = 3")
    assert [d.code for d in found] == ["E0520", "E0520"]


def test_a_point_that_fails_because_the_model_does_is_not_told_again() -> None:
    broken = MODEL.replace("heads: dim = 4", "heads: dim = 3")
    found, sweep = swept("scale in [1, 2]", broken)
    assert ([d.code for d in found], sweep) == (["E0301"], None)


def test_warnings_of_points_are_their_own_affair() -> None:
    warned = MODEL.replace("  dim c", '  prefer d < 100, "wide"\n  dim c')
    assert swept("d in [8, 200]", warned)[0] == ()


def test_a_field_of_a_section_by_its_dotted_name() -> None:
    """The same in recipes as in sweeps; each field is set once, whichever way."""
    sections = "optimizer { lr = 1e-3 }\n  schedule { epochs = 20ep; warmup = 2ep }"
    dotted = "optimizer.lr = 1e-3\n  schedule { epochs = 20ep }\n  schedule.warmup = 2ep"
    assert sections in MODEL
    Path("m.vit").write_text(MODEL)
    Path("n.vit").write_text(MODEL.replace(sections, dotted))
    assert recipe_for(open_program("n.vit")) == recipe_for(open_program("m.vit"))
    Path("n.vit").write_text(MODEL.replace(sections, f"{sections}\n  schedule.epochs = 3ep"))
    (found,) = examine(open_program("n.vit")).diagnostics
    assert (found.code, found.primary.span.text) == ("E0202", "schedule.epochs")
    Path("n.vit").write_text(MODEL.replace("optimizer {", "optimizer.lrr = 3\n  optimizer {"))
    (found,) = examine(open_program("n.vit")).diagnostics
    assert (found.code, found.primary.span.text) == ("E0600", "optimizer.lrr")


def test_the_fields_of_a_recipe() -> None:
    names = field_names()
    assert {"seed", "optimizer.lr", "schedule.warmup", "data.batch", "mixup"} <= set(names)
    assert not {"optimizer", "schedule.warmup.value", "data"} & set(names)


SPECS = ("baseline", "ripplevit", "hydravit")


@pytest.mark.parametrize("spec", SPECS)
def test_each_point_is_what_set_gives(spec: str) -> None:
    """The sweep elaborates all points with one memory; `elaborate` each with a fresh one."""
    program = open_program(find_spec(spec)[0])
    together = Elaborator(program)
    for sweep in api.sweeps(spec):
        for point in sweep.points:
            shared = elaborate_model(together, sweep.model, point.overrides)
            alone = elaborate(program, sweep.model, point.overrides).graph
            assert shared is not None
            one, other = cost(shared), cost(alone)
            assert (one.params, one.macs) == (other.params, other.macs)
            assert one.activation_bytes == other.activation_bytes
            assert [v.type for v in shared.outputs] == [v.type for v in alone.outputs]
            recipe_for(program, sweep.model, point.recipe_overrides)


def test_the_ablations_of_the_sources() -> None:
    found = {
        (sweep.model, sweep.name): [tuple(point.values.values()) for point in sweep.points]
        for spec in SPECS
        for sweep in api.sweeps(spec)
    }
    depths = [("6",), ("9",), ("12",), ("15",)]
    widths = [("192", "3"), ("256", "4"), ("384", "6"), ("512", "8")]
    rates = [("1e-4",), ("3e-4",), ("5e-4",), ("1e-3",)]
    drops = [("0",), ("0.1",), ("0.2",), ("0.3",)]
    expected = {
        ("RippleViT", "stages"): [(str(n),) for n in range(1, 6)],
        ("HydraViT", "branches"): [("2",), ("4",), ("6",), ("8",)],
    }
    for model in ("BaselineViT", "RippleViT"):
        expected |= {(model, "depth"): depths, (model, "width"): widths}
    for model in ("BaselineViT", "RippleViT", "HydraViT"):
        expected |= {(model, "rate"): rates, (model, "dropout"): drops}
    assert found == expected


def test_a_sweep_costs_less_than_its_points() -> None:
    """In steps: what does not vary is not executed again."""
    program = open_program(find_spec("ripplevit")[0])
    alone = Elaborator(program)
    elaborate_model(alone, "RippleViT", {})
    once = limits.STEPS - alone.budget.left
    check_sweeps(alone, "RippleViT")
    swept_ = limits.STEPS - alone.budget.left - once
    (sweeps,) = [api.sweeps("ripplevit")]
    assert swept_ < 0.5 * once * sum(len(sweep.points) for sweep in sweeps)


def test_sweeps_of_a_spec_with_errors() -> None:
    Path("m.vit").write_text(f"{MODEL}sweep s of M {{ heads in [3] }}\n")
    with pytest.raises(SpecError, match="E0520"):
        api.sweeps("m.vit")


def test_a_sweep_of_many_failures_is_elaborated_up_to_its_errors_only() -> None:
    """In steps: a failing point ends where it fails, and only those that are shown are told."""
    Path("m.vit").write_text(MODEL, encoding="utf-8")
    alone = Elaborator(open_program("m.vit"))
    elaborate_model(alone, "M", {})
    once = limits.STEPS - alone.budget.left
    Path("m.vit").write_text(f"{MODEL}sweep s of M {{ heads = 3; scale in 1..300 }}\n")
    together = Elaborator(open_program("m.vit"))
    elaborate_model(together, "M", {})
    assert check_sweeps(together) == ()
    assert together.diagnostics[-1].notes[-1] == "297 more of the 300 points fail"
    assert limits.STEPS - together.budget.left < 0.5 * 300 * once


def test_points_that_could_not_be_elaborated_are_not_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "STEPS", 700)
    found, sweep = swept("scale in 1..300")
    assert ([d.code for d in found], sweep) == (["E0713"], None)
    assert found[0].helps[0].startswith("every one of the 300 points")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # A parameter that does not vary: its default, a value the sweep fixes, one made of others.
        ("d in [4, 6, 8]; where d % heads == 0", ["4", "8"]),
        ("d in [4, 6, 8]; heads = 2; where d % heads == 0 and d > heads * 2", ["6", "8"]),
        ("heads in [1, 2, 4]; where wide == 64", ["4"]),
        ("heads in [1, 2]; where [k * heads for k in [2, 3]][0] < 4", ["1"]),
        # Fields of the recipe: fixed here, set there, its defaults, words, durations.
        ("optimizer.lr in [1e-4, 1e-2]; where optimizer.lr < schedule.warmup / 1000", ["1e-4"]),
        ("optimizer.lr in [1e-3, 2e-3]; where optimizer.lr == 0.001", ["1e-3"]),
        ("seed in 0..3; where seed < schedule.warmup", ["0", "1"]),
        ("heads in [1, 2]; where optimizer.lr == 1e-3 / heads", ["1"]),
        ("heads in [1, 2]; where optimizer.betas[0] * heads > 1", ["2"]),
        ("schedule.decay in [cosine, none]; where schedule.decay == none", ["none"]),
        ("heads in [1, 2]; where schedule.decay == cosine and precision == float32", ["1", "2"]),
        ("schedule.warmup in [5ep, 9ep]; where schedule.warmup > schedule.epochs / 3", ["9ep"]),
    ],
)
def test_conditions_use_what_does_not_vary(lines: str, expected: list[str]) -> None:
    model = MODEL.replace("word: text", "wide: dim = 16 * heads, word: text")
    found, sweep = swept(lines, model)
    assert found == ()
    assert sweep is not None
    assert [next(iter(point.values.values())) for point in sweep.points] == expected


def test_conditions_see_the_parameters_behind_an_alias() -> None:
    model = MODEL.replace("model M[", "model N[", 1).replace("train M", "train N")
    found, sweep = swept("scale in 1..2; where d == 6 * heads", f"{model}model M = N[d = 24]\n")
    assert found == ()
    assert sweep is not None
    assert len(sweep.points) == 2


@pytest.mark.parametrize(
    ("condition", "code", "help_"),
    [
        ("hedas > 1", "E0209", "did you mean `heads`?"),
        ("optimizer.rate > 1", "E0209", "fields of `optimizer`: name, lr, weight_decay"),
        ("xyz > 1", "E0209", "the static parameters of `M`, and the fields of its recipe"),
        ("optimizer.l > 1", "E0209", "did you mean `optimizer.lr`?"),
        ("mixup > 0", "E0209", "give it a value in the sweep: `mixup = ...`"),
    ],
)
def test_a_condition_about_nothing(condition: str, code: str, help_: str) -> None:
    (found,), _ = swept(f"heads in [1]; where {condition}")
    assert found.code == code
    assert help_ in found.helps[0]


def test_a_condition_about_a_recipe_that_is_not_there() -> None:
    untrained = MODEL.replace("train M with quick", "")
    (found,), _ = swept("heads in [1]; where optimizer.lr > 0", untrained)
    assert (found.code, found.primary.span.text) == ("E0524", "optimizer.lr")
