"""Scoped defaults: what a `defaults` statement sets for the operators that are applied after it.

Takes: the settings of a statement. Gives: a `Defaults`, which the elaborator holds while it goes
through the rest of the body and through all blocks applied from there. An inner statement wins over
an outer one, and an argument that is given wins over both.
Non-goals: defaults of blocks, whose static arguments have theirs where they are declared.
Errors: E0350 to E0354.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from linvit_dsl.check.operators import argument_problem
from linvit_dsl.check.provenance import chain
from linvit_dsl.check.values import Number, Static, Value, key_of, kind_of
from linvit_dsl.errors import Diagnostic, Fix, Label, Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.ops import OPS, Op
from linvit_dsl.syntax import ast

if TYPE_CHECKING:
    from linvit_dsl.check.expressions import Expressions


@dataclass(frozen=True, slots=True)
class Setting:
    """The default of one static argument, and where it is set."""

    value: Static
    span: Span


@dataclass(frozen=True, slots=True)
class Defaults:
    """What is set at one point of an elaboration: operator -> static argument -> setting."""

    settings: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)

    def of(self, operator: str) -> Mapping[str, Setting]:
        """The settings for one operator, by the name of the argument."""
        return self.settings.get(operator, {})

    def with_setting(self, operator: str, argument: str, setting: Setting) -> Defaults:
        """The same with one more setting, which replaces an older one."""
        own = {**self.of(operator), argument: setting}
        return Defaults({**self.settings, operator: own})

    def key(self, operators: Iterable[str]) -> object:
        """Hashable; equal exactly if the settings for these operators are equal."""
        if not self.settings:
            return frozenset[object]()
        return frozenset(
            (operator, argument, key_of(setting.value))
            for operator in operators
            for argument, setting in self.of(operator).items()
        )


def check_settings(statement: ast.Defaults) -> Iterator[Diagnostic]:
    """What is wrong with a statement whatever its values are: E0350, E0351, E0353 and E0354."""
    seen: dict[tuple[str, str], Span] = {}
    for setting in statement.settings:
        operator, name = setting.operator, setting.name
        op = OPS.get(operator.name)
        if op is None:
            yield _unknown_operator(operator)
            continue
        if name.name not in settable(op):
            yield _not_settable(op, name)
        first = seen.setdefault((op.name, name.name), operator.span)
        if first != operator.span:
            label = Label(first, "first set here")
            what = f"{op.name}.{name.name}"
            yield diagnose("E0354", operator.span, secondary=(label,), what=what)


def settable(op: type[Op]) -> tuple[str, ...]:
    """Static arguments of an operator that have a default, and so can get another one.

    A number beside `+ - * /` is none of them: it is written in place of a tensor.
    """
    fields = op.Attributes.model_fields
    written = ("left", "right", "axes", "given")
    return tuple(name for name, f in fields.items() if not f.is_required() and name not in written)


def extended(scope: Expressions, statement: ast.Defaults) -> Defaults:
    """The defaults in force behind a statement; settings that were reported are left out.

    Raises:
        SpecError: E0352, an operator would refuse the value.
    """
    defaults, flagged = scope.elaborator.defaults, scope.elaborator.flagged
    for setting in statement.settings:
        places = ((s.source.name, s.start) for s in (setting.operator.span, setting.name.span))
        if not flagged.isdisjoint(places):
            continue
        value, place = scope.evaluate(setting.value), setting.value.span
        op, name = OPS[setting.operator.name], setting.name.name
        what = f"{op.name}.{name}"
        if isinstance(value, Value):
            problem = f"`{name}` must be a static value, not {kind_of(value)}"
            raise SpecError(diagnose("E0352", place, what=what, problem=problem))
        problem = argument_problem(op, name, value)
        if problem is not None:
            notes = chain((value.origin,)) if isinstance(value, Number) else ()
            raise SpecError(diagnose("E0352", place, notes=notes, what=what, problem=problem))
        defaults = defaults.with_setting(op.name, name, Setting(value, setting.span))
    return defaults


def _unknown_operator(operator: ast.Identifier) -> Diagnostic:
    near = nearest(operator.name, OPS)
    if near is not None:
        helps = (f"did you mean `{near}`?",)
    elif operator.name[:1].isupper():
        helps = (f"the arguments of a block are given where it is applied: `{operator.name}[...]`",)
    else:
        helps = ()
    fixes = (Fix(operator.span, near, f"replace by `{near}`"),) if near else ()
    return diagnose("E0350", operator.span, helps=helps, fixes=fixes, name=operator.name)


def _not_settable(op: type[Op], name: ast.Identifier) -> Diagnostic:
    legal = settable(op)
    if name.name in op.Attributes.model_fields and name.name not in legal:
        return diagnose("E0353", name.span, op=op.name, name=name.name)
    near = nearest(name.name, legal)
    has = f"it has: {', '.join(legal)}" if legal else "it has none"
    return diagnose(
        "E0351",
        name.span,
        helps=(f"did you mean `{near}`?" if near else has,),
        fixes=(Fix(name.span, near, f"replace by `{near}`"),) if near else (),
        op=op.name,
        name=name.name,
    )
