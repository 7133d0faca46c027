"""From lark's parse trees to the AST."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lark import Token, Tree

from linvit_dsl.errors import Span
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.expressions import Expressions, Node


class Lowering(Expressions):
    """Builds the nodes of one text. Raises SpecError E0712 for what is too deep."""

    def item(self, tree: Node, doc: str = "") -> ast.Item:
        """A declaration; `doc` is the text of the `##` comments before it."""
        if tree.data == "block":
            return self._block(tree, doc)
        if tree.data == "alias":
            return self._alias(tree, doc)
        return _ITEMS[tree.data](self, tree)

    def statement(self, tree: Node) -> ast.Statement:
        """A statement of a body."""
        return self.nested(_STATEMENTS[tree.data], tree)

    def field(self, tree: Node) -> ast.Field:
        """A field of a record."""
        name, value = tree.children
        is_record = isinstance(value, Tree) and value.data == "record"
        lowered = self._record(value) if is_record else self.expression(value)
        return ast.Field.model_construct(
            name=self.identifier(name) if is_record else self._dotted(name),
            value=lowered,
            span=self.span(tree),
        )

    def default(self, tree: Node) -> ast.Default:
        """A line of a `defaults`."""
        operator, name, value = tree.children
        return ast.Default.model_construct(
            operator=self.identifier(operator),
            name=self.identifier(name),
            value=self.expression(value),
            span=self.span(tree),
        )

    def vary(self, tree: Node) -> ast.Vary | ast.Field | ast.Expression:
        """A line of a sweep: an axis, a field, or the condition of a `where`."""
        if tree.data == "field":
            return self.field(tree)
        if tree.data == "where":
            return self.expression(tree.children[0])
        *names, values = tree.children
        return ast.Vary.model_construct(
            names=tuple(self._dotted(name) for name in names if name is not None),
            values=self.expression(values),
            span=self.span(tree),
        )

    # Modules

    def _import_module(self, tree: Node) -> ast.Import:
        dotted, alias = tree.children
        return ast.Import.model_construct(
            module=_parts(dotted),
            path=None,
            names=(),
            alias=self.maybe(self.identifier, alias),
            span=self.span(tree),
        )

    def _import_names(self, tree: Node) -> ast.Import:
        dotted, *names = tree.children
        return ast.Import.model_construct(
            module=_parts(dotted),
            path=None,
            names=self.identifiers(names),
            alias=None,
            span=self.span(tree),
        )

    def _import_file(self, tree: Node) -> ast.Import:
        path, *names = tree.children
        return ast.Import.model_construct(
            module=(),
            path=self.text(path),
            names=self.identifiers(names),
            alias=None,
            span=self.span(tree),
        )

    def _const(self, tree: Node) -> ast.Constant:
        name, value = tree.children
        return ast.Constant.model_construct(
            name=self.identifier(name), value=self.expression(value), span=self.span(tree)
        )

    # Blocks

    def _block(self, tree: Node, doc: str) -> ast.Block:
        mark, keyword, name, statics, params, result, body = tree.children
        span = self.span(tree)
        return ast.Block.model_construct(
            keyword=keyword.value,
            intrinsic=mark == "intrinsic",
            float32=mark == "float32",
            name=self.identifier(name),
            statics=self._statics(statics),
            parameters=tuple(self._parameter(child) for child in present(params)),
            results=self._shapes(result),
            body=self._body(body),
            head=Span(self.source, span.start, self.span(result).end),
            doc=doc,
            span=span,
        )

    def _alias(self, tree: Node, doc: str) -> ast.Alias:
        keyword, name, statics, value = tree.children
        return ast.Alias.model_construct(
            keyword=keyword.value,
            name=self.identifier(name),
            statics=self._statics(statics),
            value=self.expression(value),
            doc=doc,
            span=self.span(tree),
        )

    def _shapes(self, result: Node) -> tuple[ast.Shape, ...]:
        shapes = result.children if result.data == "results" else [result]
        return tuple(self.shape(child) for child in shapes if child is not None)

    def _statics(self, tree: Node) -> tuple[ast.StaticParameter, ...]:
        return tuple(self._static(child) for child in present(tree))

    def _static(self, tree: Node) -> ast.StaticParameter:
        name, kind, default = tree.children
        return ast.StaticParameter.model_construct(
            name=self.identifier(name),
            type=self._kind(kind),
            default=self.maybe(self.expression, default),
            span=self.span(tree),
        )

    def _kind(self, tree: Node) -> ast.StaticKind:
        name, element = tree.children
        return ast.StaticKind.model_construct(
            name=name.value, element=self.maybe(self._kind, element), span=self.span(tree)
        )

    def _parameter(self, tree: Node) -> ast.TensorParameter:
        name, shape = tree.children
        return ast.TensorParameter.model_construct(
            name=self.identifier(name), shape=self.shape(shape), span=self.span(tree)
        )

    def _body(self, tree: Node) -> tuple[ast.Statement, ...]:
        return tuple(self.statement(child) for child in present(tree))

    # Statements

    def _dim(self, tree: Node) -> ast.Dim:
        names, value = tree.children
        return ast.Dim.model_construct(
            names=self.binder(names), value=self.expression(value), span=self.span(tree)
        )

    def _require(self, tree: Node) -> ast.Require:
        condition, message = tree.children
        return ast.Require.model_construct(
            warning=tree.data == "prefer",
            condition=self.expression(condition),
            message=self.maybe(self.text, message),
            span=self.span(tree),
        )

    def _expect(self, tree: Node) -> ast.Expect:
        (expected,) = tree.children
        return ast.Expect.model_construct(**self._expected(expected), span=self.span(tree))

    def _expected(self, tree: Node) -> dict[str, Any]:
        condition, tolerance, conditions, source = tree.children
        return {
            "condition": self.expression(condition),
            "tolerance": self.maybe(self.expression, tolerance),
            "conditions": tuple(self.named(child) for child in present(conditions)),
            "source": self.maybe(self.text, source),
        }

    def _store(self, tree: Node) -> ast.Store:
        keyword, name, shape, initializer = tree.children
        return ast.Store.model_construct(
            trained=keyword.type == "PARAM",
            name=self.identifier(name),
            shape=self.tensor_shape(shape),
            initializer=self.maybe(self.expression, initializer),
            span=self.span(tree),
        )

    def _layer(self, tree: Node) -> ast.Layer:
        name, value = tree.children
        return ast.Layer.model_construct(
            name=self.identifier(name), value=self.expression(value), span=self.span(tree)
        )

    def _defaults(self, tree: Node) -> ast.Defaults:
        settings = tuple(self.default(child) for child in present(tree))
        return ast.Defaults.model_construct(settings=settings, span=self.span(tree))

    def _assign(self, tree: Node) -> ast.Assign:
        name, shape, value = tree.children
        return ast.Assign.model_construct(
            names=(self.identifier(name),),
            shape=self.maybe(self.shape, shape),
            value=self.expression(value),
            span=self.span(tree),
        )

    def _assign_many(self, tree: Node) -> ast.Assign:
        names, value = tree.children
        return ast.Assign.model_construct(
            names=self.binder(names),
            shape=None,
            value=self.expression(value),
            span=self.span(tree),
        )

    def _residual(self, tree: Node) -> ast.Residual:
        name, value = tree.children
        return ast.Residual.model_construct(
            name=self.identifier(name), value=self.expression(value), span=self.span(tree)
        )

    def _repeat(self, tree: Node) -> ast.Repeat:
        count, index, shared, body = tree.children
        return ast.Repeat.model_construct(
            count=self.expression(count),
            index=self.maybe(self.identifier, index),
            shared=shared is not None,
            body=self._body(body),
            span=self.span(tree),
        )

    def _for(self, tree: Node) -> ast.For:
        binder, iterable, body = tree.children
        return ast.For.model_construct(
            binder=self.binder(binder),
            iterable=self.expression(iterable),
            body=self._body(body),
            span=self.span(tree),
        )

    def _if(self, tree: Node) -> ast.If:
        condition, yes, no = tree.children
        is_chain = isinstance(no, Tree) and no.data == "if_"
        return ast.If.model_construct(
            condition=self.expression(condition),
            yes=self._body(yes),
            no=(self.statement(no),) if is_chain else self._body(no),
            span=self.span(tree),
        )

    def _return(self, tree: Node) -> ast.Return:
        return ast.Return.model_construct(
            values=self.expressions(tree.children), span=self.span(tree)
        )

    # Recipes, sweeps, checks

    def _record(self, tree: Node) -> ast.Record:
        return ast.Record.model_construct(
            fields=tuple(self.field(child) for child in present(tree)), span=self.span(tree)
        )

    def _recipe(self, tree: Node) -> ast.Recipe:
        name, base, record = tree.children
        return ast.Recipe.model_construct(
            name=self.identifier(name),
            base=self.maybe(self.identifier, base),
            record=self._record(record),
            span=self.span(tree),
        )

    def _train(self, tree: Node) -> ast.Train:
        model, recipe, record = tree.children
        return ast.Train.model_construct(
            model=self.identifier(model),
            recipe=self.maybe(self.identifier, recipe),
            record=self.maybe(self._record, record),
            span=self.span(tree),
        )

    def _sweep(self, tree: Node) -> ast.Sweep:
        name, model, *lines = tree.children
        return self.sweep(name, model, [self.vary(line) for line in lines if line], self.span(tree))

    def sweep(
        self,
        name: Token,
        model: Token,
        lines: Sequence[ast.Vary | ast.Field | ast.Expression],
        span: Span,
    ) -> ast.Sweep:
        """A sweep of lowered lines."""
        return ast.Sweep.model_construct(
            name=self.identifier(name),
            model=self.identifier(model),
            axes=tuple(line for line in lines if isinstance(line, ast.Vary)),
            conditions=tuple(line for line in lines if not isinstance(line, ast.Vary | ast.Field)),
            fields=tuple(line for line in lines if isinstance(line, ast.Field)),
            span=span,
        )

    def _dotted(self, tree: Node) -> ast.Identifier:
        return ast.Identifier.model_construct(name=".".join(_parts(tree)), span=self.span(tree))

    def _check(self, tree: Node) -> ast.Check:
        model, takes, gives = tree.children
        return ast.Check.model_construct(
            model=self.expression(model),
            takes=self._shapes(takes),
            gives=self._shapes(gives),
            span=self.span(tree),
        )

    def _expectation(self, tree: Node) -> ast.Expectation:
        model, expected = tree.children
        return ast.Expectation.model_construct(
            keyword="claim" if tree.data == "claim" else "expect",
            model=self.expression(model),
            **self._expected(expected),
            span=self.span(tree),
        )


def present(tree: Node) -> list[Node]:
    """The children that are there: lark puts None in the place of an optional one that is not."""
    return [] if tree is None else [child for child in tree.children if child is not None]


def _parts(dotted: Node) -> tuple[str, ...]:
    return tuple(token.value for token in dotted.children)


_ITEMS: dict[str, Callable[[Lowering, Node], ast.Item]] = {
    "import_module": Lowering._import_module,
    "import_names": Lowering._import_names,
    "import_file": Lowering._import_file,
    "const": Lowering._const,
    "recipe": Lowering._recipe,
    "train": Lowering._train,
    "sweep": Lowering._sweep,
    "check": Lowering._check,
    "expectation": Lowering._expectation,
    "claim": Lowering._expectation,
}
_STATEMENTS: dict[str, Callable[[Lowering, Node], ast.Statement]] = {
    "dim": Lowering._dim,
    "dim_many": Lowering._dim,
    "require": Lowering._require,
    "prefer": Lowering._require,
    "expect": Lowering._expect,
    "store": Lowering._store,
    "layer": Lowering._layer,
    "defaults": Lowering._defaults,
    "assign": Lowering._assign,
    "assign_many": Lowering._assign_many,
    "residual": Lowering._residual,
    "repeat": Lowering._repeat,
    "for_": Lowering._for,
    "if_": Lowering._if,
    "return_": Lowering._return,
}
