"""A training recipe: the closed set of fields that a `recipe` may set, with units and bounds.

Takes: a plain mapping (the record of a `.vit` file, or the JSON of a run folder).
Gives: a frozen `Recipe`, or problems that name the field by its path in the mapping.
Non-goals: spans (the caller knows where a path stands in the text), and every rule that needs the
data set, such as "a warm-up shorter than the run" when one is counted in steps.
Errors: none raised; pydantic's own words and links never reach the user.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from linvit_dsl.check.recipe_problem import RecipeProblem, describe

_DURATION = re.compile(r"([0-9]{1,10})(ep|it)")


class Section(BaseModel):
    """Base of every part of a recipe: immutable, no unknown fields, no silent conversions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True
    )


class Duration(Section):
    """A stretch of training: `10ep` is ten epochs, `500it` 500 optimizer steps, `10` is `10ep`."""

    value: int = Field(ge=0, le=10**9, description="how many")
    unit: Literal["ep", "it"] = Field(
        default="ep", description="`ep` epochs or `it` optimizer steps"
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return {"value": value}
        if isinstance(value, Duration | Mapping):
            return value
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise PydanticCustomError("rule", "write a duration as `10ep` or `500it`")
        return {"value": int(match[1]), "unit": match[2]}

    @model_serializer
    def _write(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self.value}{self.unit}"

    def steps(self, steps_per_epoch: int) -> int:
        """The same stretch in optimizer steps."""
        return self.value * (steps_per_epoch if self.unit == "ep" else 1)


def _positive(duration: Duration) -> Duration:
    if duration.value == 0:
        raise PydanticCustomError("rule", "must be at least `1it`")
    return duration


def _epochs(value: Any) -> Any:
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    if match[2] == "it":
        raise PydanticCustomError("rule", "the length of a run is counted in epochs: `200ep`")
    return int(match[1])


Period = Annotated[Duration, AfterValidator(_positive)]
EpochCount = Annotated[int, BeforeValidator(_epochs), Field(ge=1, le=100_000)]


class RandomCrop(Section):
    """Pad with zeros, then cut the original size out at a random place: a shift by up to `pad`."""

    name: Literal["random_crop"]
    pad: int = Field(ge=1, le=1024, description="padding on each side, in pixels")


class HorizontalFlip(Section):
    """Mirror left and right. Wrong for digits and letters."""

    name: Literal["hflip"]
    probability: float = Field(
        default=0.5, ge=0, le=1, description="share of the images that is mirrored"
    )


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


# Wrapping the union rather than its members keeps the discriminator visible to pydantic.
Augmentation = Annotated[
    Annotated[RandomCrop | HorizontalFlip, Field(discriminator="name")], BeforeValidator(_named)
]


class Data(Section):
    """Which images, how many per step, and how they are varied."""

    name: Literal["digits", "cifar10", "cifar100"] = Field(description="the data set")
    batch: int = Field(ge=1, le=2**20, description="images per optimizer step, over all devices")
    augment: tuple[Augmentation, ...] = Field(
        default=(), strict=False, max_length=16, description="augmentations, applied in this order"
    )
    resize: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="rows and columns to which images are scaled, after the augmentations; "
        "omitted: as they are",
    )


class AdamW(Section):
    """Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101)."""

    name: Literal["adamw"] = Field(default="adamw", description="the optimizer")
    lr: float = Field(gt=0, le=1, description="learning rate at the end of the warm-up")
    weight_decay: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="decay per step, times the learning rate; matrices only",
    )
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)],
        Annotated[float, Field(ge=0, lt=1)],
    ] = Field((0.9, 0.999), strict=False, description="decay of the two running moments, per step")
    clip: float | None = Field(
        default=None,
        gt=0,
        description="largest L2 norm of all gradients together; omitted: no limit",
    )


class Schedule(Section):
    """Linear warm-up, then the decay, counted per optimizer step."""

    epochs: EpochCount = Field(description="length of the run, in passes over the training images")
    warmup: Duration = Field(default=Duration(value=0), description="linear rise from 0 to `lr`")
    decay: Literal["cosine", "none"] = Field(
        default="cosine", description="course after the warm-up"
    )
    min_lr: float = Field(
        default=0.0, ge=0, le=1, description="learning rate at the end of the decay"
    )

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup.unit == "ep" and self.epochs <= self.warmup.value:
            raise PydanticCustomError(
                "rule",
                "a warm-up of {warmup} does not end within {epochs} epochs",
                {
                    "field": "warmup",
                    "warmup": str(self.warmup),
                    "epochs": self.epochs,
                    "help": f"shorten it as well: `--set schedule.warmup={self.epochs // 2}ep`",
                },
            )
        return self


class Recipe(Section):
    """Everything that decides a training run besides the model and the bytes of the data."""

    data: Data = Field(description="the images")
    optimizer: AdamW = Field(description="the optimizer")
    schedule: Schedule = Field(description="the length of the run and the learning rate over it")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread over all classes"
    )
    mixup: float | None = Field(
        default=None, gt=0, le=100, description="alpha of Beta(alpha, alpha); omitted: no mixup"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay per step of the averaged weights; omitted: none",
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="type of matrix products; weights and sums stay float32"
    )
    seed: int = Field(
        0, ge=0, lt=2**63, description="seed of weights, order, augmentation, dropout"
    )
    eval_every: Period = Field(
        default=Duration(value=1), description="time between two evaluations"
    )
    save_every: Period = Field(
        default=Duration(value=1), description="time between two checkpoints"
    )

    @model_validator(mode="after")
    def _decay_falls(self) -> Self:
        if self.schedule.min_lr > self.optimizer.lr:
            raise PydanticCustomError(
                "rule",
                "`min_lr` = {min_lr} is above `lr` = {lr}",
                {
                    "field": "schedule.min_lr",
                    "min_lr": self.schedule.min_lr,
                    "lr": self.optimizer.lr,
                },
            )
        return self


def check_recipe(values: Mapping[str, Any]) -> Recipe | tuple[RecipeProblem, ...]:
    """Check plain values against the schema.

    Args:
        values: nested mappings, lists, numbers, booleans and strings. A quantity with a unit is
            text (`"200ep"`); an augmentation is its name (`"hflip"`) or a mapping that holds it
            (`{"name": "random_crop", "pad": 4}`).

    Returns:
        The recipe, or every problem found, in the order of the schema.
    """
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        # include_url=False: nobody should be sent to another project's manual for a `.vit` file.
        return tuple(describe(found, values, Recipe) for found in error.errors(include_url=False))


def field_names(section: type[BaseModel] = Recipe) -> tuple[str, ...]:
    """All fields of a recipe, those of sections dotted: `optimizer.lr`."""
    names: list[str] = []
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section) and inner is not Duration:
            names += [f"{name}.{deeper}" for deeper in field_names(inner)]
        else:
            names.append(name)
    return tuple(names)


@cache
def field_words(section: type[BaseModel] = Recipe) -> frozenset[str]:
    """The words that some field of a recipe may be: `cosine`, `adamw`, `digits`."""
    words: set[str] = set()
    for field in section.model_fields.values():
        inner = field.annotation
        if get_origin(inner) is Literal:
            words.update(get_args(inner))
        elif isinstance(inner, type) and issubclass(inner, Section) and inner is not Duration:
            words |= field_words(inner)
    return frozenset(words)
