"""What the root file states about its models from outside: `expect`, `claim` and `check`.

Takes: a program whose models were elaborated. Gives: the comparisons and diagnostics, both on the
elaborator. Errors: E0501 to E0504 for costs, E0510 to E0513 for shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from linvit_dsl.check.arithmetic import whole
from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.models import declared_inputs, specialised
from linvit_dsl.check.provenance import chain, named
from linvit_dsl.check.values import BlockValue, Number, Poisoned, Result
from linvit_dsl.errors import Label, Span, SpecError, diagnose
from linvit_dsl.graph.ir import Dim, TensorType, Value
from linvit_dsl.graph.size import Poly, at_batch
from linvit_dsl.syntax import ast


def check_statements(elaborator: Elaborator, model: str | None = None) -> None:
    """Evaluate every `expect`, `claim` and `check` of the root file, in the order of the text.

    With `model` only those about it. Of models that only these lines speak of, such as
    `RippleViT[stages = 5]`, only errors are kept: the file offers no such model, so advice about it
    helps nobody.
    """
    scope = Expressions(elaborator, elaborator.program.root)
    for item in elaborator.program.root.file.items:
        if not isinstance(item, ast.Expectation | ast.Check):
            continue
        if model is not None and _subject(item.model) != model:
            continue
        with elaborator.without_warnings():
            _statement(scope, item)


def _subject(model: ast.Expression) -> str:
    """The name of what `RippleViT[stages = 2]` is a variant of."""
    while isinstance(model, ast.Statics):
        model = model.target
    return model.name if isinstance(model, ast.Name) else ""


def _statement(scope: Expressions, item: ast.Expectation | ast.Check) -> None:
    try:
        if isinstance(item, ast.Expectation):
            _expectation(scope, item)
        else:
            _Check(scope, item).run()
    except SpecError as error:
        scope.elaborator.reject(error)
    except Poisoned:
        pass


def _model(scope: Expressions, item: ast.Expectation | ast.Check) -> BlockValue:
    """The model or block that a statement is about.

    Raises:
        SpecError: E0510, an operator.
    """
    value = scope.applicable(item.model)
    if isinstance(value, BlockValue):
        return value
    raise SpecError(diagnose("E0510", item.model.span, name=value.name))


def _expectation(scope: Expressions, item: ast.Expectation) -> None:
    value = _model(scope, item)
    graph = specialised(scope.elaborator, value, item.model.span, {}, _Sized(item))
    if graph is not None:
        name = " ".join(item.model.span.text.split())
        scope.elaborator.judge(scope, item, name, graph)


@dataclass(frozen=True, slots=True)
class _Sized:
    """The inputs that a block declares, for a statement about its cost."""

    item: ast.Expectation

    def __call__(
        self, elaborator: Elaborator, block: BlockValue
    ) -> tuple[tuple[Result, Span], ...]:
        """The tensors, each with the place of the statement.

        Raises:
            SpecError: E0319, the cost depends on a size that is open in the block.
        """
        place = self.item.model.span
        try:
            return tuple((tensor, place) for tensor in declared_inputs(elaborator, block))
        except SpecError as error:
            label = Label(place, f"this `{self.item.keyword}` needs it")
            helps = (
                f"say it in the body of `{block.name}`, where it is asked for the sizes in use: "
                f"`expect {' '.join(self.item.condition.span.text.split())}`",
            )
            if self.item.keyword == "claim":
                helps = ("make the claim of a model, or of a block whose sizes are static",)
            found = error.diagnostics
            changed = (
                replace(d, secondary=(*d.secondary, label), helps=(*d.helps, *helps))
                if d.code == "E0319"
                else d
                for d in found
            )
            raise SpecError(*changed) from None


class _Check:
    """One `check M: [2, 3, 32, 32] -> [2, 100]`.

    The batch is whatever stands where the block declares `B`. The block is elaborated with the
    symbol, as for every other purpose, and the number is put into the shapes of its results.
    """

    def __init__(self, scope: Expressions, item: ast.Check) -> None:
        self.scope = Expressions(scope.elaborator, scope.module)
        self.item = item
        self.name = " ".join(item.model.span.text.split())
        self.model = _model(scope, item)
        self.batch: Number | None = None
        self.symbol = Number(Poly.symbol("B"), named("B", "B", "the batch", item.span))
        self.scope.names["B"] = self.symbol

    def run(self) -> None:
        """Compare the results of the block with what is stated.

        Raises:
            SpecError: E0511 their number differs, E0512 a shape does.
        """
        elaborator, item = self.scope.elaborator, self.item
        graph = specialised(elaborator, self.model, item.model.span, {}, self.inputs)
        if graph is None:
            return
        stated = [leaf for shape in item.gives for leaf in self.tensors(shape)]
        if len(stated) != len(graph.outputs):
            self.count("returns", len(graph.outputs), len(stated), item.gives)
        for shape, output in zip(stated, graph.outputs, strict=True):
            self.compare(shape, output.type)

    def inputs(self, elaborator: Elaborator, block: BlockValue) -> tuple[tuple[Result, Span], ...]:
        """The stated arguments.

        Raises:
            SpecError: E0511 their number differs, E0513 two batches, E0319 an axis without a size,
                E0514 a model takes others.
        """
        declared = [parameter.shape for parameter in _declaration(block).parameters]
        stated = self.item.takes
        if len(stated) != len(declared):
            self.count("takes", len(declared), len(stated), stated)
        pairs = zip(stated, declared, strict=True)
        arguments = [(self.argument(shape, other), shape.span) for shape, other in pairs]
        if self.model.declaration.keyword == "model":
            self.as_compiled(elaborator, block, arguments)
        return tuple(arguments)

    def as_compiled(
        self, elaborator: Elaborator, block: BlockValue, arguments: Sequence[tuple[Result, Span]]
    ) -> None:
        """Demand the inputs that a model declares: it is compiled for no others."""
        declared = declared_inputs(elaborator, block)
        for own, (argument, span) in zip(declared, arguments, strict=True):
            given = argument.type.dims if isinstance(argument, Value) else ()
            if given == own.type.dims:
                continue
            differ = [a.origin for a, b in zip_longest(own.type.dims, given) if a and a != b]
            text = " ".join(span.text.split())
            raise SpecError(
                diagnose(
                    "E0514",
                    span,
                    notes=chain(differ),
                    name=self.name,
                    expected=own.type,
                    stated=text,
                )
            )

    def argument(self, shape: ast.Shape, declared: ast.Shape) -> Result:
        """A tensor, or a list of them, of a stated shape."""
        if isinstance(shape, ast.ListShape):
            element = declared.element if isinstance(declared, ast.ListShape) else declared
            count = whole(self.scope.number(shape.count), shape.count.span)
            return tuple(self.argument(shape.element, element) for _ in range(count))
        axes = declared.axes if isinstance(declared, ast.TensorShape) else ()
        first_rest = next((i for i, a in enumerate(axes) if isinstance(a, ast.RestAxes)), len(axes))
        batch_at = {
            index
            for index, axis in enumerate(axes[:first_rest])
            if isinstance(axis, ast.Name) and axis.name == "B"
        }
        dims: list[Dim] = []
        for index, axis in enumerate(shape.axes):
            size = self.axis(axis)
            if index in batch_at and isinstance(size.value, int):
                size = self.batch_of(size, axis.span)
            dims.append(_dim(size))
        return Value(TensorType(tuple(dims)), shape.span)

    def batch_of(self, size: Number, place: Span) -> Number:
        """The symbol in the place of the batch's number, which is kept."""
        if self.batch is not None and self.batch.value != size.value:
            raise SpecError(diagnose("E0513", place, first=self.batch, second=size))
        self.batch = size
        return self.symbol

    def axis(self, axis: ast.Expression | ast.RestAxes) -> Number:
        """The size of a stated axis; `B` is any batch."""
        if isinstance(axis, ast.RestAxes):
            name = axis.name.span
            if (name.source.name, name.start) in self.scope.elaborator.flagged:
                raise Poisoned
            raise SpecError(diagnose("E0319", axis.span, name=axis.span.text))
        return self.scope.dimension(axis)

    def tensors(self, shape: ast.Shape) -> Iterator[ast.TensorShape]:
        """A stated shape, those in a list one by one."""
        if isinstance(shape, ast.TensorShape):
            yield shape
            return
        for _ in range(whole(self.scope.number(shape.count), shape.count.span)):
            yield from self.tensors(shape.element)

    def compare(self, stated: ast.TensorShape, actual: TensorType) -> None:
        """Demand that a result has the stated shape."""
        sizes = [self.axis(axis) for axis in stated.axes]
        dims = actual.dims
        if self.batch is not None and isinstance(self.batch.value, int):
            batch = self.batch.value
            dims = tuple(Dim(at_batch(dim.size, batch), dim.origin) for dim in dims)
        if [size.value for size in sizes] == [dim.size for dim in dims]:
            return
        pairs = zip(sizes, dims, strict=False)
        origins = [dim.origin for size, dim in pairs if size.value != dim.size]
        raise SpecError(
            diagnose(
                "E0512",
                stated.span,
                notes=chain(origins),
                name=self.name,
                actual=TensorType(dims),
                takes=", ".join(" ".join(shape.span.text.split()) for shape in self.item.takes),
                stated=TensorType(tuple(_dim(size) for size in sizes)),
            )
        )

    def count(self, verb: str, expected: int, given: int, shapes: tuple[ast.Shape, ...]) -> None:
        """E0511."""
        place = shapes[0].span.to(shapes[-1].span)
        raise SpecError(
            diagnose("E0511", place, name=self.name, verb=verb, expected=expected, given=given)
        )


def _declaration(block: BlockValue) -> ast.Block:
    if isinstance(block.declaration, ast.Alias):
        raise TypeError(block.declaration)
    return block.declaration


def _dim(size: Number) -> Dim:
    value = size.value
    if not isinstance(value, int | Poly):
        raise TypeError(value)
    return Dim(value, size.origin)
