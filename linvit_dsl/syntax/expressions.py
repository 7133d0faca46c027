"""From lark's parse trees to the AST: names, expressions and shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

from lark import Token

from linvit_dsl.errors import Source, Span, SpecError, diagnose
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.quantities import value_of
from linvit_dsl.syntax.tokens import span_of

Node = Any
"""A lark tree or token: the grammar says what is in it."""
T = TypeVar("T")

_ESCAPES = {'\\"': '"', "\\\\": "\\", "\\n": "\n", "\\t": "\t"}


def unescape(text: str) -> str:
    """The characters that a text between its quotes stands for."""
    if "\\" not in text:
        return text
    return re.sub(r'\\["\\nt]', lambda escape: _ESCAPES[escape.group()], text)


class Expressions:
    """Builds the expressions of one text."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._depth = 0

    def span(self, node: Node) -> Span:
        """The characters of a tree or a token."""
        if isinstance(node, Token):
            return span_of(self.source, node)
        return Span(self.source, node.meta.start_pos, node.meta.end_pos)

    def maybe(self, lower: Callable[[Node], T], node: Node) -> T | None:
        """`lower(node)`, or None for an optional part that is not there."""
        return None if node is None else lower(node)

    def identifier(self, token: Token) -> ast.Identifier:
        """A name where it is declared, or used as a key."""
        return ast.Identifier.model_construct(name=token.value, span=self.span(token))

    def identifiers(self, tokens: Iterable[Token]) -> tuple[ast.Identifier, ...]:
        """Several of them."""
        return tuple(self.identifier(token) for token in tokens)

    def binder(self, node: Node) -> tuple[ast.Identifier, ...]:
        """One name, or several in parentheses."""
        if isinstance(node, Token):
            return (self.identifier(node),)
        if node.data == "binder":
            return self.binder(node.children[0])
        return self.identifiers(node.children)

    def text(self, token: Token) -> ast.Text:
        """A text, from the token with its quotes."""
        return ast.Text.model_construct(value=unescape(token.value[1:-1]), span=self.span(token))

    def expressions(self, nodes: Iterable[Node]) -> tuple[ast.Expression, ...]:
        """Several expressions."""
        return tuple(self.expression(node) for node in nodes)

    def expression(self, tree: Node) -> ast.Expression:
        """An expression.

        Raises:
            SpecError: E0712, it is deeper than the limit.
        """
        return self.nested(_EXPRESSIONS[tree.data], tree)

    def nested(self, lower: Callable[[Self, Node], T], tree: Node) -> T:
        """`lower(self, tree)`, one level further down.

        The limit protects every later walk over the AST, which recurses, from Python's own.

        Raises:
            SpecError: E0712, too deep.
        """
        self._depth += 1
        try:
            if self._depth > limits.EXPRESSION_DEPTH:
                limit = limits.EXPRESSION_DEPTH
                raise SpecError(diagnose("E0712", self.span(tree), limit=limit))
            return lower(self, tree)
        finally:
            self._depth -= 1

    def _name(self, tree: Node) -> ast.Name:
        return ast.Name.model_construct(name=tree.children[0].value, span=self.span(tree))

    def _number(self, tree: Node) -> ast.Number:
        value, unit = value_of(tree.children[0].value)
        return ast.Number.model_construct(value=value, unit=unit, span=self.span(tree))

    def _text(self, tree: Node) -> ast.Text:
        return self.text(tree.children[0])

    def _boolean(self, tree: Node) -> ast.Boolean:
        value = tree.children[0].type == "TRUE"
        return ast.Boolean.model_construct(value=value, span=self.span(tree))

    def _tuple(self, tree: Node) -> ast.TupleOf:
        return ast.TupleOf.model_construct(
            items=self.expressions(tree.children), span=self.span(tree)
        )

    def _list(self, tree: Node) -> ast.ListOf:
        items = self.expressions(child for child in tree.children if child is not None)
        return ast.ListOf.model_construct(items=items, span=self.span(tree))

    def _comprehension(self, tree: Node) -> ast.Comprehension:
        body, binder, iterable = tree.children
        return ast.Comprehension.model_construct(
            body=self.expression(body),
            binder=self.binder(binder),
            iterable=self.expression(iterable),
            span=self.span(tree),
        )

    def _range(self, tree: Node) -> ast.Range:
        first, last = self.expressions(tree.children)
        return ast.Range.model_construct(first=first, last=last, span=self.span(tree))

    def _conditional(self, tree: Node) -> ast.Conditional:
        condition, yes, no = self.expressions(tree.children)
        return ast.Conditional.model_construct(
            condition=condition, yes=yes, no=no, span=self.span(tree)
        )

    def _unary(self, tree: Node) -> ast.Unary:
        operator = "-" if tree.data == "negative" else "not"
        operand = self.expression(tree.children[0])
        return ast.Unary.model_construct(operator=operator, operand=operand, span=self.span(tree))

    def _binary(self, tree: Node) -> ast.Binary:
        left, operator, right = tree.children
        return ast.Binary.model_construct(
            operator=operator.value,
            left=self.expression(left),
            right=self.expression(right),
            span=self.span(tree),
        )

    def _pipe(self, tree: Node) -> ast.Pipe:
        value, target = self.expressions(tree.children)
        return ast.Pipe.model_construct(value=value, target=target, span=self.span(tree))

    def _with_statics(self, tree: Node) -> ast.Statics:
        target, arguments = tree.children
        return ast.Statics.model_construct(
            target=self.expression(target),
            arguments=self._arguments(arguments),
            span=self.span(tree),
        )

    def _apply(self, tree: Node) -> ast.Apply:
        target, arguments = tree.children
        return ast.Apply.model_construct(
            target=self.expression(target),
            arguments=self._arguments(arguments),
            span=self.span(tree),
        )

    def _member(self, tree: Node) -> ast.Member:
        target, name = tree.children
        return ast.Member.model_construct(
            target=self.expression(target), name=self.identifier(name), span=self.span(tree)
        )

    def _labelled(self, tree: Node) -> ast.Labelled:
        target, label = tree.children
        return ast.Labelled.model_construct(
            target=self.expression(target), label=self.identifier(label), span=self.span(tree)
        )

    def _arguments(self, tree: Node | None) -> tuple[ast.Argument, ...]:
        return () if tree is None else tuple(self._argument(child) for child in tree.children)

    def _argument(self, tree: Node) -> ast.Argument:
        if tree.data == "named":
            return self.named(tree)
        if tree.data == "splat":
            value = self.expression(tree.children[0])
            return ast.Splat.model_construct(value=value, span=self.span(tree))
        return self.expression(tree)

    def named(self, tree: Node) -> ast.NamedArgument:
        """`name = value`."""
        name, value = tree.children
        return ast.NamedArgument.model_construct(
            name=self.identifier(name), value=self.expression(value), span=self.span(tree)
        )

    def shape(self, tree: Node) -> ast.Shape:
        """The shape of a tensor, or of a list of them."""
        if tree.data == "tensor_shape":
            return self.tensor_shape(tree)
        return self.nested(Expressions._list_shape, tree)

    def _list_shape(self, tree: Node) -> ast.ListShape:
        count, element = tree.children
        return ast.ListShape.model_construct(
            count=self.expression(count), element=self.shape(element), span=self.span(tree)
        )

    def tensor_shape(self, tree: Node) -> ast.TensorShape:
        """The shape of a tensor."""
        axes = tuple(self._axis(child) for child in tree.children if child is not None)
        return ast.TensorShape.model_construct(axes=axes, span=self.span(tree))

    def _axis(self, tree: Node) -> ast.Expression | ast.RestAxes:
        if tree.data == "rest_axes":
            name = self.identifier(tree.children[0])
            return ast.RestAxes.model_construct(name=name, span=self.span(tree))
        return self.expression(tree)


_EXPRESSIONS: dict[str, Callable[[Expressions, Node], ast.Expression]] = {
    "name": Expressions._name,
    "number": Expressions._number,
    "text": Expressions._text,
    "boolean": Expressions._boolean,
    "tuple": Expressions._tuple,
    "list": Expressions._list,
    "comprehension": Expressions._comprehension,
    "range": Expressions._range,
    "conditional": Expressions._conditional,
    "negative": Expressions._unary,
    "not_": Expressions._unary,
    "binary": Expressions._binary,
    "pipe": Expressions._pipe,
    "with_statics": Expressions._with_statics,
    "apply": Expressions._apply,
    "member": Expressions._member,
    "labelled": Expressions._labelled,
}
