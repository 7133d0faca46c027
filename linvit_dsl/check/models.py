"""The way from a program to the graph of one of its models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from linvit_dsl.check import lints
from linvit_dsl.check.binding import bind_block, bind_statics
from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.parameters import count_parameters
from linvit_dsl.check.program import Program
from linvit_dsl.check.provenance import Frame, named
from linvit_dsl.check.shapes import declared_type
from linvit_dsl.check.values import BlockValue, Number, Poisoned, Result
from linvit_dsl.errors import Diagnostic, InternalError, Source, Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import Graph, Value
from linvit_dsl.graph.size import Poly
from linvit_dsl.syntax import ast, parse_expression


@dataclass(frozen=True, slots=True)
class Model:
    """An elaborated model. `warnings` are its W diagnostics."""

    name: str
    graph: Graph
    program: Program
    warnings: tuple[Diagnostic, ...]


def elaborate(
    program: Program, model: str | None = None, overrides: Mapping[str, str] | None = None
) -> Model:
    """Elaborate one model of a program: the named one, or the first that the file declares.

    `overrides` maps static parameters to their text (`{"stages": "2"}`).

    Raises:
        SpecError: The program or the model has errors (all of them are in it), E0211 no such model.
    """
    errors = [found for found in program.diagnostics if found.severity == "error"]
    if errors:
        raise SpecError(*errors)
    name = choose_model(program, model)
    elaborator = Elaborator(program)
    graph = elaborate_model(elaborator, name, overrides or {})
    if graph is None or elaborator.failed:
        errors = [found for found in elaborator.diagnostics if found.severity == "error"]
        if not errors:
            raise InternalError(f"model `{name}` has no graph, and no diagnostic says why")
        raise SpecError(*errors)
    return Model(name, graph, program, elaborator.diagnostics)


def elaborate_model(
    elaborator: Elaborator, name: str, overrides: Mapping[str, str]
) -> Graph | None:
    """Elaborate a model of the root file; None if it has errors, which are recorded."""
    root = elaborator.program.root
    value = root.names.get(name)
    if not isinstance(value, BlockValue):
        return None
    place = value.declaration.name.span
    graph = specialised(elaborator, value, place, overrides)
    if graph is None:
        return None
    doc = value.declaration.doc or graph.doc
    graph = replace(graph, name=name, module=root.source.module, kind="model", doc=doc)
    if not elaborator.failed:
        elaborator.report(*lints.of_model(graph, place))
    return graph


Inputs = Callable[[Elaborator, BlockValue], tuple[tuple[Result, Span], ...]]
"""The tensors that a block, no alias, is applied to, and where the text speaks of them."""


def specialised(
    elaborator: Elaborator,
    value: BlockValue,
    place: Span,
    overrides: Mapping[str, str],
    inputs: Inputs | None = None,
) -> Graph | None:
    """The graph of a model or block by itself; None if it has errors, which are recorded.

    Args:
        elaborator: Records them.
        value: The block, or an alias of it.
        place: Where the text asks for it.
        overrides: Static parameters with their text.
        inputs: What it is applied to; of the shapes that it declares if None.
    """
    elaborator.frames = [Frame(value.name, value.declaration.keyword)]
    elaborator.tainted = False
    try:
        block = elaborator.unalias(_override(elaborator, value, overrides), place)
        if inputs is None:
            arguments = [(tensor, place) for tensor in declared_inputs(elaborator, block)]
        else:
            arguments = inputs(elaborator, block)
        tensors = tuple(tensor for tensor, _ in arguments)
        spans = tuple(span for _, span in arguments)
        if block.declaration is value.declaration:
            elaborator.frames = []
        graph = elaborator.specialise(block, tensors, spans, place).graph
        if (owned := count_parameters(graph, elaborator.counted)) > limits.PARAMETERS:
            limit = f"{limits.PARAMETERS:,}"
            raise SpecError(diagnose("E0705", place, value=f"{owned:,}", limit=limit))
    except SpecError as error:
        elaborator.reject(error)
        return None
    except RecursionError:
        # Deep expressions in blocks in blocks: each is within its limit, all together are not.
        elaborator.frames = []
        elaborator.reject(SpecError(diagnose("E0708", place, what="blocks", limit=limits.NESTING)))
        return None
    except Poisoned:
        return None
    finally:
        elaborator.frames = []
    return None if elaborator.tainted else graph


def choose_model(program: Program, model: str | None) -> str:
    """The model called `model`, or the first of the file.

    Raises:
        SpecError: E0211, there is none.
    """
    start = Span(program.root.source, 0, 0)
    if model is None:
        if program.models:
            return program.models[0]
        raise SpecError(diagnose("E0211", start, what="no model"))
    if model in program.models:
        return model
    near = nearest(model, program.models)
    legal = ", ".join(program.models) or "none"
    helps = (f"did you mean `{near}`?" if near else f"models of the file: {legal}",)
    raise SpecError(diagnose("E0211", start, helps=helps, what=f"no model `{model}`"))


def _override(
    elaborator: Elaborator, block: BlockValue, overrides: Mapping[str, str]
) -> BlockValue:
    """The model with static parameters from the command line, whose text is their place."""
    for name, text in overrides.items():
        source = Source("--set", f"{name} = {text}", "")
        expression = parse_expression(source, len(name) + 3)
        try:
            value = Expressions(elaborator, block.module).evaluate(expression)
        except SpecError as error:
            if not isinstance(expression, ast.Name):
                raise
            # A shell takes quotes away, so a text needs two kinds of them.
            helps = (f"a text needs quotes: `--set {name}='\"{text}\"'`",)
            raise SpecError(*(replace(d, helps=helps) for d in error.diagnostics)) from None
        place = Span(source, 0, len(source.text))
        target = ast.Statics.model_construct(target=expression, arguments=(), span=place)
        block = bind_block(block, [], {name: (value, place)}, target)
    return block


def declared_inputs(elaborator: Elaborator, block: BlockValue) -> tuple[Value, ...]:
    """Values of the shapes that a block declares; only the batch `B` stays symbolic.

    Raises:
        SpecError: E0319, an axis has no size.
    """
    declaration = block.declaration
    if isinstance(declaration, ast.Alias):
        raise TypeError(declaration)
    scope = Expressions(elaborator, block.module)
    batch = named("B", "B", "the batch", declaration.head)
    scope.names["B"] = Number(Poly.symbol("B"), batch)
    bind_statics(scope, declaration.statics, dict(block.statics), block, declaration.name.span)
    inputs: list[Value] = []
    for parameter in declaration.parameters:
        shape = parameter.shape
        if not isinstance(shape, ast.TensorShape):
            raise SpecError(diagnose("E0319", shape.span, name=shape.span.text))
        for axis in shape.axes:
            unknown = isinstance(axis, ast.RestAxes) or (
                isinstance(axis, ast.Name) and not scope.binds(axis.name)
            )
            if unknown:
                raise SpecError(diagnose("E0319", axis.span, name=axis.span.text))
        type_ = declared_type(scope, shape)
        inputs.append(Value(type_, parameter.span, parameter.name.name))
    return tuple(inputs)
