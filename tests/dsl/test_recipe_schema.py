"""The schema of recipes: what it accepts, and what it says about what it does not."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from linvit_dsl.check.recipe import Duration, Recipe, check_recipe
from linvit_dsl.check.recipe_problem import RecipeProblem

GOOD: dict[str, Any] = {
    "data": {
        "name": "cifar100",
        "batch": 128,
        "augment": ["hflip", {"name": "random_crop", "pad": 4}],
    },
    "optimizer": {"name": "adamw", "lr": 3e-4, "weight_decay": 0.05, "clip": 1},
    "schedule": {"epochs": "200ep", "warmup": "10ep", "decay": "cosine"},
}
DELETE = object()


def edited(*path_and_value: Any) -> dict[str, Any]:
    """`GOOD` with the value at a path replaced, or removed if it is DELETE."""
    *path, last, value = path_and_value
    values = copy.deepcopy(GOOD)
    section = values
    for name in path:
        section = section[name]
    if value is DELETE:
        del section[last]
    else:
        section[last] = value
    return values


def only_problem(values: dict[str, Any]) -> RecipeProblem:
    """The one problem that `values` has."""
    problems = check_recipe(values)
    assert isinstance(problems, tuple), f"accepted: {problems}"
    (problem,) = problems
    return problem


def test_a_good_recipe_has_the_documented_defaults() -> None:
    recipe = check_recipe(GOOD)
    assert isinstance(recipe, Recipe)
    assert (recipe.schedule.epochs, str(recipe.schedule.warmup)) == (200, "10ep")
    assert recipe.data.augment[0].name == "hflip"
    assert recipe.optimizer.betas == (0.9, 0.999)
    assert (recipe.mixup, recipe.ema, recipe.seed) == (None, None, 0)
    assert (str(recipe.eval_every), str(recipe.save_every)) == ("1ep", "1ep")


def test_a_recipe_survives_json() -> None:
    recipe = check_recipe(GOOD)
    assert isinstance(recipe, Recipe)
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert check_recipe(recipe.model_dump(mode="json")) == recipe


def test_a_recipe_cannot_be_changed() -> None:
    recipe = check_recipe(GOOD)
    assert isinstance(recipe, Recipe)
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1


@pytest.mark.parametrize(
    ("given", "steps"), [(3, 300), ("3ep", 300), ("250it", 250), ({"value": 7, "unit": "it"}, 7)]
)
def test_durations_count_epochs_or_steps(given: Any, steps: int) -> None:
    assert Duration.model_validate(given).steps(steps_per_epoch=100) == steps


def every_model(model: type[BaseModel] = Recipe) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for part in [field.annotation, *parts_of(field.annotation)]:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from every_model(part)


def parts_of(annotation: object) -> Iterator[object]:
    for part in get_args(annotation):
        yield part
        yield from parts_of(part)


def test_every_field_is_described() -> None:
    models = set(every_model())
    assert {"Data", "AdamW", "Schedule", "RandomCrop", "Duration"} <= {m.__name__ for m in models}
    silent = [
        f"{model.__name__}.{name}"
        for model in models
        for name, field in model.model_fields.items()
        # The name of an augmentation only tells it apart from the others.
        if not field.description and not (name == "name" and field.is_required())
    ]
    assert not silent


# (path and value, kind, loc, a part of the message, a part of the suggestion)
WRONG = [
    (("data", "name", "cifar1000"), "value", ("data", "name"), 'be "cifar1000"', "`cifar100`"),
    (("data", "batch", 0), "value", ("data", "batch"), "at least 1; it is 0", ""),
    (("data", "batch", 1.5), "value", ("data", "batch"), "a whole number; it is 1.5", ""),
    (("data", "batch", True), "value", ("data", "batch"), "it is `true`", ""),
    (("data", "batch", "128"), "value", ("data", "batch"), 'it is "128"', ""),
    (("data", "batch", DELETE), "missing", ("data",), "`data` needs `batch`", "images per"),
    (("data", DELETE), "missing", (), "the recipe needs `data`", "the images"),
    (("data", 3), "value", ("data",), "must be a section", ""),
    (("dat", 3), "unknown", ("dat",), "the recipe has no field `dat`", "`data`"),
    (("lr", 3), "unknown", ("lr",), "no field `lr`", "belongs to `optimizer`"),
    (
        ("optimizer", "weight_decy", 0.1),
        "unknown",
        ("optimizer", "weight_decy"),
        "`optimizer` has no field `weight_decy`",
        "did you mean `weight_decay`?",
    ),
    (
        ("optimizer", "ema", 0.1),
        "unknown",
        ("optimizer", "ema"),
        "no field `ema`",
        "belongs to the recipe itself",
    ),
    (("optimizer", "zz", 1), "unknown", ("optimizer", "zz"), "no field", "its fields: name, lr"),
    (("optimizer", "name", "sgd"), "value", ("optimizer", "name"), '"sgd"', "from: adamw"),
    (("optimizer", "lr", 0), "value", ("optimizer", "lr"), "greater than 0", ""),
    (("optimizer", "lr", float("nan")), "value", ("optimizer", "lr"), "finite number", ""),
    (("optimizer", "betas", [0.9]), "value", ("optimizer", "betas"), "only 1 value", ""),
    (("optimizer", "betas", [0.9] * 3), "value", ("optimizer", "betas"), "at most 2 values", ""),
    (("optimizer", "betas", [0.9, 1]), "value", ("optimizer", "betas", 1), "less than 1", ""),
    (("schedule", "epochs", "5it"), "value", ("schedule", "epochs"), "counted in epochs", ""),
    (("schedule", "warmup", "200ep"), "value", ("schedule", "warmup"), "does not end", ""),
    (("schedule", "warmup", "10 ep"), "value", ("schedule", "warmup"), "`10ep` or `500it`", ""),
    (("schedule", "warmup", 2.5), "value", ("schedule", "warmup"), "`10ep` or `500it`", ""),
    (("schedule", "warmup", -1), "value", ("schedule", "warmup"), "at least 0", ""),
    (("schedule", "decay", "cos"), "value", ("schedule", "decay"), '"cos"', "`cosine`"),
    (("schedule", "min_lr", 0.5), "value", ("schedule", "min_lr"), "above `lr` = 0.0003", ""),
    (("eval_every", "0it"), "value", ("eval_every",), "at least `1it`", ""),
    (("precision", "fp16"), "value", ("precision",), '"fp16"', "`bfloat16`"),
    (("seed", -1), "value", ("seed",), "at least 0", ""),
    (("data", "augment", 3), "value", ("data", "augment"), "must be a list", ""),
    (("data", "augment", 0, "hflp"), "value", ("data", "augment", 0), '"hflp"', "`hflip`"),
    (("data", "augment", 0, {"p": 1}), "value", ("data", "augment", 0), "a name like", ""),
    (("data", "augment", ["hflip"] * 20), "value", ("data", "augment"), "at most 16", ""),
    (
        ("data", "augment", 1, "random_crop"),
        "missing",
        ("data", "augment", 1),
        "`random_crop` needs `pad`",
        "pixels",
    ),
    (
        ("data", "augment", 1, "size", 32),
        "unknown",
        ("data", "augment", 1, "size"),
        "`random_crop` has no field `size`",
        "its fields: name, pad",
    ),
    (
        ("data", "augment", 1, "pad", 0),
        "value",
        ("data", "augment", 1, "pad"),
        "`pad` must be at least 1",
        "",
    ),
]


@pytest.mark.parametrize(("edit", "kind", "loc", "message", "suggestion"), WRONG)
def test_a_wrong_field_is_named(
    edit: tuple[Any, ...], kind: bytes, loc: tuple[str | int, ...], message: str, suggestion: str
) -> None:
    problem = only_problem(edited(*edit))
    assert (problem.kind, problem.loc) == (kind, loc)
    assert message in problem.message
    assert suggestion in problem.suggestion


@pytest.mark.parametrize("edit", [wrong[0] for wrong in WRONG])
def test_nothing_of_pydantic_shows(edit: tuple[Any, ...]) -> None:
    problem = only_problem(edited(*edit))
    text = problem.message + problem.suggestion
    for word in ("Input", "pydantic", "http", "valid ", "Extra", "Field", "type="):
        assert word not in text


def test_every_problem_of_a_recipe_is_found() -> None:
    values = edited("data", "batch", 0)
    values["optimizer"]["lr"] = "high"
    values["sed"] = 1
    problems = check_recipe(values)
    assert isinstance(problems, tuple)
    assert {p.loc for p in problems} == {("data", "batch"), ("optimizer", "lr"), ("sed",)}


def test_the_schema_does_not_import_torch() -> None:
    code = "import sys, linvit_dsl.check.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
