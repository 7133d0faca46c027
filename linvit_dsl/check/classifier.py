"""What a model must map so that the training loop can train it: images to scores of classes."""

from __future__ import annotations

from dataclasses import dataclass

from linvit_dsl.errors import Label, Span, SpecError, diagnose
from linvit_dsl.graph.ir import Graph, TensorType
from linvit_dsl.ops.op import BATCH


@dataclass(frozen=True, slots=True)
class Classifier:
    """What a model takes and gives: images (channels, rows, columns) and a number of classes."""

    image: tuple[int, int, int]
    classes: int


def classifier(graph: Graph, place: Span) -> Classifier:
    """What the training loop needs to know of a model.

    Args:
        graph: The model.
        place: Where the text asks for its training.

    Raises:
        SpecError: E0376, it does not map [B, channels, rows, columns] to [B, classes].
    """
    problem = _count(len(graph.inputs), "takes") or _count(len(graph.outputs), "gives")
    if problem is None:
        image, scores = graph.inputs[0].type, graph.outputs[0].type
        match _of_batch(image), _of_batch(scores):
            case (channels, rows, columns), (classes,):
                return Classifier((channels, rows, columns), classes)
            case (_, _, _), _:
                problem = f"gives {scores}, which is no [B, classes]"
            case _:
                problem = f"takes {image}, which is no [B, channels, rows, columns]"
    declared = Label(graph.span, "declared here")
    helps = ("train it in a loop of your own: `linvit_dsl.load` gives it as a torch module",)
    raise SpecError(
        diagnose(
            "E0376", place, secondary=(declared,), helps=helps, name=graph.name, problem=problem
        )
    )


def _count(tensors: int, verb: str) -> str | None:
    return None if tensors == 1 else f"{verb} {tensors} tensors"


def _of_batch(type_: TensorType) -> tuple[int, ...]:
    """The sizes behind a leading batch axis; none if there is no such axis."""
    first, *rest = type_.sizes or (1,)
    sizes = tuple(size for size in rest if isinstance(size, int))
    return sizes if first == BATCH and len(sizes) == len(rest) else ()
