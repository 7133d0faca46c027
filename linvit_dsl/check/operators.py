"""Applies primitive operators: statics to attributes, tensors to a node, problems to errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from linvit_dsl.check.arithmetic import undefined
from linvit_dsl.check.provenance import Misfit, chain, quote, roots
from linvit_dsl.check.shapes import with_origins
from linvit_dsl.check.values import (
    BlockValue,
    Function,
    ModuleValue,
    Number,
    OperatorValue,
    Result,
    Static,
    wrong_kind,
)
from linvit_dsl.errors import Diagnostic, Label, Span, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.graph.ir import Initializer, Origin, Slot, TensorType, Value
from linvit_dsl.graph.size import at_batch
from linvit_dsl.ops import OPS, Attributes, Op, OpProblem
from linvit_dsl.ops.attributes import attribute_problem
from linvit_dsl.ops.initializers import check_initializer
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.builder import GraphBuilder
    from linvit_dsl.check.defaults import Setting
    from linvit_dsl.check.expressions import Expressions

ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div"}


def apply_operator(
    scope: Expressions,
    target: OperatorValue,
    arguments: tuple[Result, ...],
    spans: tuple[Span, ...],
    span: Span,
    names: tuple[str, ...],
    keywords: dict[str, Value],
) -> Result:
    """Add a node that applies an operator; several results come as a list.

    Raises:
        SpecError: Wrong number of tensors, unknown keyword, bad static argument, or no fit.
    """
    builder = scope.builder
    if builder is None:
        raise SpecError(diagnose("E0405", span, name=target.name))
    tensors = _tensors(target, arguments, spans, span, keywords)
    target, inherited = _with_defaults(scope, target)
    try:
        attributes = _attributes(target, keywords, span)
        types = _result_types(target, attributes, tensors, spans, span)
    except SpecError as error:
        if not inherited:
            raise
        raise SpecError(*(_told(found, inherited) for found in error.diagnostics)) from None
    slot = _slot(builder, target, attributes, tensors, span)
    results = builder.apply(
        target.op, attributes, tensors, slot=slot, span=span, names=names, types=types
    )
    (first, *others) = results
    return results if others or target.op.name == "split" else first


def combine(
    scope: Expressions, expression: ast.Binary, left: Result, right: Result, names: tuple[str, ...]
) -> Result:
    """`left operator right` where at least one side is a tensor."""
    if expression.operator == "^" and isinstance(left, Value) and isinstance(right, Number):
        power = OperatorValue(OPS["pow"], {"exponent": right})
        return apply_operator(
            scope, power, (left,), (expression.left.span,), expression.span, names, {}
        )
    name = ARITHMETIC.get(expression.operator)
    if name is None:
        raise SpecError(undefined(expression, left, right))
    tensors: list[Result] = []
    spans: list[Span] = []
    statics: dict[str, Static] = {}
    for side, value, part in (("left", left, expression.left), ("right", right, expression.right)):
        if isinstance(value, Value):
            tensors.append(value)
            spans.append(part.span)
        elif isinstance(value, Number):
            statics[side] = value
        else:
            raise SpecError(undefined(expression, left, right))
    target = OperatorValue(OPS[name], statics)
    return apply_operator(scope, target, tuple(tensors), tuple(spans), expression.span, names, {})


def _tensors(
    target: OperatorValue,
    arguments: tuple[Result, ...],
    spans: tuple[Span, ...],
    span: Span,
    keywords: dict[str, Value],
) -> tuple[Value, ...]:
    op = target.op
    for value, place in zip(arguments, spans, strict=True):
        if not isinstance(value, Value):
            kind = f"a tensor, as an argument of `{op.name}`"
            first, *more = [w for w in op.Attributes.words() if w not in target.statics] or [""]
            words = f"{first}, ..." if more else first
            helps = (f"static arguments stand in brackets: `{op.name}[{words}](...)`",)
            helps = helps if words and len(arguments) > 1 else ()
            raise wrong_kind(place, quote(place.text), kind, value, helps=helps)
    expected = op.arity
    if op.name in ARITHMETIC.values():
        expected = 2 - len(set(target.statics) & {"left", "right"})
    if expected is not None and len(arguments) != expected:
        raise SpecError(
            diagnose("E0317", span, name=op.name, expected=expected, given=len(arguments))
        )
    for name in keywords:
        if name not in op.keywords:
            legal = ", ".join(op.keywords)
            helps = (f"it takes by name: {legal}",) if legal else ()
            raise SpecError(diagnose("E0316", span, helps=helps, name=op.name))
    tensors = tuple(value for value in arguments if isinstance(value, Value))
    return tensors + tuple(keywords[name] for name in op.keywords if name in keywords)


def _attributes(target: OperatorValue, keywords: dict[str, Value], span: Span) -> Attributes:
    """The static arguments as the operator's own pydantic model.

    Raises:
        SpecError: E0345, one is missing, out of range or of the wrong kind.
    """
    model = target.op.Attributes
    fields: dict[str, object] = {}
    axes: list[tuple[str, object]] = []
    for name, value in target.statics.items():
        if name in model.words():
            fields[name] = as_attribute(value)
        else:
            axes.append((name, as_attribute(value)))
    if "axes" in model.model_fields:
        fields["axes"] = tuple(axes)
    if "given" in model.model_fields:
        fields["given"] = tuple(name for name in target.op.keywords if name in keywords)
    try:
        return model(**fields)
    except ValidationError as error:
        field, message = attribute_problem(target.op, error)
        value = target.statics.get(field)
        notes = chain((value.origin,)) if isinstance(value, Number) else ()
        raise SpecError(
            diagnose("E0345", span, notes=notes, op=target.name, message=message)
        ) from None


def _with_defaults(
    scope: Expressions, target: OperatorValue
) -> tuple[OperatorValue, Mapping[str, Setting]]:
    """The operator with the defaults that are in force here, and those that it took."""
    scope.elaborator.operators.add(target.name)
    settings = scope.elaborator.defaults.of(target.name)
    taken = {name: s for name, s in settings.items() if name not in target.statics}
    if not taken:
        return target, taken
    statics = {**target.statics, **{name: setting.value for name, setting in taken.items()}}
    return replace(target, statics=statics), taken


def _told(found: Diagnostic, inherited: Mapping[str, Setting]) -> Diagnostic:
    """The finding, with the places of the defaults that the operator took."""
    notes = (f"default {quote(s.span.text)}   {s.span}" for s in inherited.values())
    return replace(found, notes=(*found.notes, *notes))


def argument_problem(op: type[Op], name: str, value: Static) -> str | None:
    """Why an operator refuses a static argument, whatever the others are; None if it takes it."""
    try:
        op.Attributes(**{name: as_attribute(value)})
    except ValidationError as error:
        try:
            return attribute_problem(op, error, only=name)[1]
        except LookupError:
            pass  # Only the other arguments are missed.
    if isinstance(value, Initializer):
        try:
            check_initializer(value, (1, 1))
        except OpProblem as problem:
            return f"`{value.name}` {problem.slots['problem']}"
    return None


def as_attribute(value: Static | Value) -> object:
    """A static value as operators take it: plain numbers, texts and tuples."""
    match value:
        case Number():
            exact = value.value
            if isinstance(exact, Fraction):
                return int(exact) if value.whole else float(exact)
            return int(exact) if isinstance(exact, float) and exact.is_integer() else exact
        case tuple():
            return tuple(as_attribute(item) for item in value)
        case Function() | OperatorValue() | BlockValue():
            return value.name
        case ModuleValue():
            return value.module.source.module
        case _:
            return value


def _result_types(
    target: OperatorValue,
    attributes: Attributes,
    tensors: tuple[Value, ...],
    spans: tuple[Span, ...],
    span: Span,
) -> tuple[TensorType, ...]:
    try:
        types = target.op.types(attributes, tuple(value.type for value in tensors))
    except OpProblem as problem:
        dims = [tensors[argument].type.dims[axis] for argument, axis in problem.axes]
        sizes, known = tuple(dim.size for dim in dims), problem.slots.get("known")
        sizes += (known,) if isinstance(known, int) else ()
        found = _misfit(problem, tensors, spans, span)
        raise Misfit(found, sizes, roots(*(dim.origin for dim in dims))) from None
    numbers = tuple(value for value in target.statics.values() if isinstance(value, Number))
    types = with_origins(types, tensors, numbers, quote(span.text), span)
    for type_ in types:
        _within_limits(type_, span)
    return types


def _within_limits(type_: TensorType, span: Span) -> None:
    sizes = [at_batch(dim.size, 1) for dim in type_.dims]
    for size in sizes:
        if size > limits.DIMENSION:
            raise SpecError(
                diagnose("E0703", span, value=f"{size:,}", limit=f"{limits.DIMENSION:,}")
            )
    elements = prod(sizes)
    if elements > limits.ELEMENTS:
        raise SpecError(
            diagnose("E0704", span, value=f"{elements:,}", limit=f"{limits.ELEMENTS:,}")
        )


def _misfit(
    problem: OpProblem, tensors: tuple[Value, ...], spans: tuple[Span, ...], span: Span
) -> Diagnostic:
    """The operator's problem with the places and origins of the axes that disagree."""
    labels: list[Label] = []
    origins: list[Origin | None] = []
    for argument, axis in problem.axes:
        dim = tensors[argument].type.dims[axis]
        origins.append(dim.origin)
        if argument < len(spans):
            labels.append(Label(spans[argument], str(tensors[argument].type)))
    slots: dict[str, Any] = problem.slots
    return diagnose(
        problem.code,
        span,
        secondary=tuple(dict.fromkeys(labels)),
        notes=chain(origins),
        helps=(problem.help,) if problem.help else (),
        **slots,
    )


def _slot(
    builder: GraphBuilder,
    target: OperatorValue,
    attributes: Attributes,
    tensors: tuple[Value, ...],
    span: Span,
) -> Slot | None:
    """Where its weights live; None if it needs no submodule."""
    types = tuple(value.type for value in tensors)
    if target.op.module(attributes, types) is None:
        return None
    if target.layer is None:
        label = target.label
        if label is None:
            return builder.slot(target.op.name, span, labelled=False)
        return builder.slot(label.name, label.span, labelled=True)
    return shared_slot(builder, target, span, weights=target.op.weights(attributes, types))


def shared_slot(
    builder: GraphBuilder, target: OperatorValue | BlockValue, span: Span, weights: object
) -> Slot:
    """The one slot of a `layer`; taken at its first application.

    Raises:
        SpecError: E0315 applied elsewhere, E0318 applied to a shape that needs other weights.
    """
    layer = target.layer
    if layer is None:
        raise TypeError(target)
    if layer.builder is not builder:
        bound = Label(layer.name.span, "bound here")
        raise SpecError(diagnose("E0315", span, secondary=(bound,), name=layer.name.name))
    if layer.slot is None:
        label = target.label or layer.name
        layer.slot = builder.slot(label.name, label.span, labelled=True, indexed=layer.indexed)
        layer.weights = weights
    elif layer.weights != weights:
        bound = Label(layer.name.span, "bound here, with the weights of its first use")
        raise SpecError(diagnose("E0318", span, secondary=(bound,), name=layer.name.name))
    return layer.slot
