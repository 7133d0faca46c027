"""Recipes: from the records of a `.vit` file to a checked `Recipe`, errors back to the text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from linvit_dsl.check.classifier import classifier
from linvit_dsl.check.elaborate import Elaborator
from linvit_dsl.check.expressions import Expressions
from linvit_dsl.check.models import choose_model, specialised
from linvit_dsl.check.program import Program
from linvit_dsl.check.recipe import Recipe, check_recipe
from linvit_dsl.check.recipe_problem import RecipeProblem
from linvit_dsl.check.values import BlockValue, Number, Poisoned, kind_of
from linvit_dsl.errors import Diagnostic, Label, Source, Span, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.syntax import ast, parse_expression

Path = tuple[str | int, ...]

CODES = {"unknown": "E0600", "missing": "E0601", "value": "E0602"}


@dataclass(eq=False)
class Draft:
    """The values of a recipe before they are checked, and where each is written."""

    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[Path, Span] = field(default_factory=dict)
    places: dict[Path, Span] = field(default_factory=dict)
    whole: Span | None = None

    def put(self, path: Path, value: object, key: Span, place: Span) -> None:
        """Set a field; one that was set before is replaced."""
        section: dict[Any, Any] = self.values
        for name in path[:-1]:
            inner = section.setdefault(name, {})
            if not isinstance(inner, dict):
                inner = section[name] = {}
            section = inner
        section[path[-1]] = value
        self.keys[path] = key
        self.places[path] = place


def recipe_for(
    program: Program,
    model: str | None = None,
    overrides: Mapping[str, str] | None = None,
    data: str | None = None,
) -> Recipe:
    """The recipe with which the file trains a model.

    Args:
        program: The spec.
        model: Its model; the first of the file if None.
        overrides: Fields by dotted name with their text: `{"optimizer.lr": "1e-3"}`.
        data: Replaces the data set's name.

    Raises:
        SpecError: E06xx, no recipe or a wrong one.
    """
    name = choose_model(program, model)
    train = program.items(ast.Train).get(name)
    if not isinstance(train, ast.Train):
        start = Span(program.root.source, 0, 0)
        trained = ", ".join(program.items(ast.Train)) or "none"
        helps = (f"add `train {name} with a_recipe`", f"models with a recipe here: {trained}")
        raise SpecError(diagnose("E0605", start, helps=helps, name=name))
    elaborator = Elaborator(program)
    reader = RecipeReader(program, elaborator)
    try:
        draft = reader.train(train)
        for key, text in (overrides or {}).items():
            source = Source("--set", f"{key} = {text}", "")
            value = parse_expression(source, len(key) + 3)
            path = tuple(key.split("."))
            draft.put(path, reader.plain(value), Span(source, 0, len(key)), value.span)
    except Poisoned:
        # It uses a constant without a value; why it has none was reported where it is declared.
        errors = (*program.diagnostics, *elaborator.diagnostics)
        raise SpecError(*(found for found in errors if found.severity == "error")) from None
    if data is not None:
        source = Source("--data", data, "")
        place = Span(source, 0, len(data))
        draft.put(("data", "name"), data, place, place)
    checked = check_recipe(draft.values)
    if isinstance(checked, Recipe):
        return checked
    raise SpecError(*(_diagnostic(problem, draft, train.span) for problem in checked))


def check_recipes(program: Program, elaborator: Elaborator) -> tuple[Diagnostic, ...]:
    """Findings about every `train`, and about every recipe that none of them uses.

    What is wrong with a constant goes to `elaborator`.
    """
    found: list[Diagnostic] = []
    used: set[str] = set()
    reader = RecipeReader(program, elaborator)
    for item in program.root.file.items:
        try:
            if isinstance(item, ast.Train):
                used |= reader.ancestry(item.recipe)
                if item.model.name not in program.models:
                    near = nearest(item.model.name, program.models)
                    legal = ", ".join(program.models) or "none"
                    helps = (f"did you mean `{near}`?" if near else f"models of the file: {legal}",)
                    name = item.model.name
                    found.append(diagnose("E0604", item.model.span, helps=helps, name=name))
                found += recipe_findings(reader.train(item), item.span)
                _expect_classifier(program, elaborator, item)
        except SpecError as error:
            found += error.diagnostics
        except Poisoned:
            continue
    for name, item in program.items(ast.Recipe).items():
        if isinstance(item, ast.Recipe) and name not in used:
            try:
                found += recipe_findings(reader.recipe(item.name), item.name.span)
            except SpecError as error:
                found += error.diagnostics
            except Poisoned:
                continue
    return tuple(found)


def _expect_classifier(program: Program, elaborator: Elaborator, item: ast.Train) -> None:
    """Demand that a sound model can be trained.

    Raises:
        SpecError: E0376.
    """
    value = program.root.names.get(item.model.name)
    if isinstance(value, BlockValue) and not elaborator.failed:
        graph = specialised(elaborator, value, item.model.span, {})
        if graph is not None:
            classifier(replace(graph, name=item.model.name), item.model.span)


def recipe_findings(draft: Draft, whole: Span) -> Iterator[Diagnostic]:
    """What is wrong with a recipe that is written at `whole`: E0600, E0601 and E0602."""
    checked = check_recipe(draft.values)
    if not isinstance(checked, Recipe):
        for problem in checked:
            yield _diagnostic(problem, draft, whole)


def _diagnostic(problem: RecipeProblem, draft: Draft, whole: Span) -> Diagnostic:
    table = draft.places if problem.kind == "value" else draft.keys
    loc: Path = problem.loc
    while loc and loc not in table:
        loc = loc[:-1]
    place = table.get(loc, whole)
    helps = (problem.suggestion,) if problem.suggestion else ()
    found = diagnose(CODES[problem.kind], place, helps=helps, message=problem.message)
    if place.source is not whole.source or place == whole:
        return found
    return replace(found, secondary=(Label(whole, "in this recipe"),)) if loc == () else found


class RecipeReader:
    """Turns records into drafts."""

    def __init__(self, program: Program, elaborator: Elaborator) -> None:
        self.program = program
        self.recipes = program.items(ast.Recipe)
        self.scope = Expressions(elaborator, program.root)

    def train(self, item: ast.Train) -> Draft:
        """The recipe that a `train` names, with its own fields on top."""
        draft = self.recipe(item.recipe) if item.recipe is not None else Draft()
        if item.record is not None:
            self._record(item.record, (), draft)
        return draft

    def recipe(self, name: ast.Identifier) -> Draft:
        """A recipe on top of those that it is based on.

        Raises:
            SpecError: E0603 unknown, E0606 based on itself.
        """
        draft = Draft()
        for item in self._lineage(name):
            self._record(item.record, (), draft)
        return draft

    def ancestry(self, name: ast.Identifier | None) -> set[str]:
        """Names of a recipe and of all that it is based on."""
        return {item.name.name for item in self._lineage(name)} if name is not None else set()

    def _lineage(self, name: ast.Identifier) -> list[ast.Recipe]:
        """From the oldest ancestor to the recipe itself."""
        line: list[ast.Recipe] = []
        current: ast.Identifier | None = name
        while current is not None:
            item = self.recipes.get(current.name)
            if not isinstance(item, ast.Recipe):
                near = nearest(current.name, self.recipes)
                legal = ", ".join(self.recipes) or "none"
                helps = (f"did you mean `{near}`?" if near else f"recipes of the file: {legal}",)
                raise SpecError(diagnose("E0603", current.span, helps=helps, name=current.name))
            if item in line:
                # Whichever recipe of the circle was asked for, the finding is the same one.
                circle = line[: line.index(item) + 1]
                first = min(circle, key=lambda recipe: recipe.span.start).name
                raise SpecError(diagnose("E0606", first.span, name=first.name))
            line.insert(0, item)
            current = item.base
        return line

    def _record(self, record: ast.Record, path: Path, draft: Draft) -> None:
        for item in record.fields:
            loc = (*path, *item.name.name.split("."))
            draft.keys[loc] = item.name.span
            if isinstance(item.value, ast.Record):
                self._record(item.value, loc, draft)
                continue
            value = self.plain(item.value)
            draft.put(loc, value, item.name.span, item.value.span)
            if isinstance(item.value, ast.ListOf):
                for index, part in enumerate(item.value.items):
                    draft.places[(*loc, index)] = part.span

    def plain(self, expression: ast.Expression) -> object:
        """A value as the schema takes it.

        Durations and words become text, `word[a = 1]` a mapping.

        Raises:
            SpecError: E0602, not a value that a recipe can hold.
        """
        match expression:
            case ast.Number(unit="ep" | "it"):
                return f"{expression.value}{expression.unit}"
            case ast.ListOf() | ast.TupleOf():
                return [self.plain(item) for item in expression.items]
            case ast.Name() if expression.name not in self.program.root.constants:
                return expression.name
            case ast.Statics(target=ast.Name(name=word)):
                return {"name": word, **self._fields(expression)}
            case _:
                value = self.scope.evaluate(expression)
        if isinstance(value, bool | str):
            return value
        if isinstance(value, Number):
            return int(value.value) if value.whole else float(value.value)  # pyright: ignore[reportArgumentType]  # no batch here
        message = f"a recipe cannot hold {kind_of(value)}"
        raise SpecError(diagnose("E0602", expression.span, message=message))

    def _fields(self, expression: ast.Statics) -> dict[str, object]:
        fields: dict[str, object] = {}
        for argument in expression.arguments:
            if not isinstance(argument, ast.NamedArgument):
                message = f"name the argument: `{argument.span.text}` could mean anything"
                raise SpecError(diagnose("E0602", argument.span, message=message))
            fields[argument.name.name] = self.plain(argument.value)
        return fields
