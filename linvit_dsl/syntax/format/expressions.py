"""How expressions, arguments and shapes are written.

Parentheses stand where the grammar needs them, and where a reader would otherwise have to know how
operators bind: around an operation that is piped on (`(a * b) |> f`), an `and` inside an `or`, a
remainder or a floor beside another product. Names, numbers and texts are written as they were.
"""

from __future__ import annotations

from functools import partial

from linvit_dsl.errors import Span
from linvit_dsl.syntax import ast
from linvit_dsl.syntax.format.document import (
    BREAK,
    NOTHING,
    SPACE,
    Choice,
    Document,
    Group,
    Nest,
    between,
    join,
    must_break,
)
from linvit_dsl.syntax.format.parts import (
    Printer,
    Rule,
    beginning,
    lines_of,
    names,
    under,
    written_comment,
)

# How strongly the forms of an expression bind, in the order of the grammar's rules.
_CONDITIONAL, _PIPE, _OR, _AND, _NOT, _COMPARISON, _RANGE, _SUM, _TERM, _FACTOR, _POWER = range(11)
POSTFIX = 11
_LEVELS = {
    **dict.fromkeys(("==", "!=", "<=", ">=", "<", ">", "in"), _COMPARISON),
    **dict.fromkeys(("+", "-"), _SUM),
    **dict.fromkeys(("*", "/", "//", "%"), _TERM),
    "or": _OR,
    "and": _AND,
    "^": _POWER,
}


def level(node: ast.Syntax) -> int:
    """How strongly an expression binds."""
    match node:
        case ast.Binary():
            return _LEVELS[node.operator]
        case ast.Unary():
            return _FACTOR if node.operator == "-" else _NOT
        case ast.Pipe():
            return _PIPE
        case ast.Range():
            return _RANGE
        case ast.Conditional():
            return _CONDITIONAL
        case _:
            return POSTFIX


class ExpressionPrinter(Printer):
    """The rules of expressions, arguments and shapes."""

    def operand(self, node: ast.Syntax, minimum: int = 0) -> Document:
        """An expression, in parentheses if it binds weaker than `minimum`.

        Or if comments stand in front of it: only inside of parentheses a line may end everywhere.
        """
        above = self.comments.before(beginning(node))
        written = self.document(node)
        if above:
            return join("(", Nest(join(BREAK, *lines_of(above), written)), BREAK, ")")
        return join("(", Nest(written), ")") if level(node) < minimum else written

    def part(
        self, node: ast.Syntax, *, lead: str = "", minimum: int = 0, open_ended: bool = False
    ) -> Document:
        """An operand behind `lead`, under the comments in front of it."""
        above, written = self.with_comments(
            node, lambda: self.operand(node, minimum), open_ended=open_ended
        )
        return join(*lines_of(above), lead, written)

    # Expressions

    def _as_written(self, node: ast.Syntax) -> Document:
        return node.span.text

    def _name(self, node: ast.Name | ast.Identifier) -> Document:
        return node.name

    def _tuple(self, node: ast.TupleOf) -> Document:
        return self.bracketed("(", node.items, ")", node.span.end - 1)

    def _list(self, node: ast.ListOf) -> Document:
        return self.bracketed("[", node.items, "]", node.span.end - 1)

    def _comprehension(self, node: ast.Comprehension) -> Document:
        body = self.part(node.body)
        above, iterable = self.with_comments(node.iterable, partial(self.document, node.iterable))
        binder = under(join("for ", names(node.binder), " in"), above, iterable)
        last = [join(BREAK, written_comment(one)) for one in self.comments.before(node.span.end)]
        return Group(join("[", Nest(join(NOTHING, body, SPACE, binder, *last)), NOTHING, "]"))

    def _range(self, node: ast.Range) -> Document:
        first, last = self.operand(node.first, _SUM), self.operand(node.last, _SUM)
        return join(first, "..", last)

    def _conditional(self, node: ast.Conditional) -> Document:
        branches: list[Document] = []
        above: tuple[Span, ...] = ()
        rest: ast.Expression = node
        while isinstance(rest, ast.Conditional):
            word = "else if " if branches else "if "
            condition = join(*lines_of(above), word, self.operand(rest.condition, _PIPE))
            yes = rest.yes
            above, written = self.with_comments(yes, partial(self.operand, yes, _PIPE))
            branches.append(under(condition, above, join("then ", written)))
            rest = rest.no
            above = self.comments.before(beginning(rest))
        branches.append(join(*lines_of(above), self.part(rest, lead="else ", open_ended=True)))
        return Group(Nest(between(SPACE, branches)))

    def _unary(self, node: ast.Unary) -> Document:
        if node.operator == "not":
            return join("not ", self.operand(node.operand, _NOT))
        minimum = _POWER if isinstance(node.operand, ast.Unary) else _FACTOR
        return join("-", self.operand(node.operand, minimum))

    def _binary(self, node: ast.Binary) -> Document:
        if node.operator == "^":
            return self._power(node)
        chain: list[ast.Binary] = [node]
        own = level(node)
        while own != _COMPARISON and self._continues(chain[-1]):
            chain.append(chain[-1].left)  # pyright: ignore[reportArgumentType] - _continues says so
        chain.reverse()
        minimum = own if own != _COMPARISON else own + 1
        first = chain[0].left
        parts: list[Document] = [self._operand_of(chain[0], first, minimum, open_ended=False)]
        for link in chain:
            right = self._operand_of(link, link.right, own + 1, open_ended=link is node)
            parts.append(join(" ", link.operator, SPACE, right))
        return Group(Nest(join(*parts)))

    def _continues(self, node: ast.Binary) -> bool:
        """Whether the left operand is part of the same chain: `a + b` in `a + b - c`."""
        left = node.left
        return (
            isinstance(left, ast.Binary) and level(left) == level(node) and not _unclear(node, left)
        )

    def _operand_of(
        self, node: ast.Binary, operand: ast.Syntax, minimum: int, *, open_ended: bool
    ) -> Document:
        if _unclear(node, operand):
            minimum = POSTFIX
        return self.part(operand, minimum=minimum, open_ended=open_ended)

    def _power(self, node: ast.Binary) -> Document:
        base, exponent = self.operand(node.left, POSTFIX), node.right
        if isinstance(exponent, ast.Binary) and exponent.operator == "/":
            above, below = (_literal(side) for side in (exponent.left, exponent.right))
            if above and below:
                return join(base, f"^({above}/{below})")
        return join(base, "^", self.operand(exponent, _FACTOR))

    def _pipe(self, node: ast.Pipe) -> Document:
        stages: list[ast.Syntax] = []
        head: ast.Syntax = node
        while isinstance(head, ast.Pipe):
            stages.append(head.target)
            head = head.value
        first = self.part(head, minimum=POSTFIX)
        stages.reverse()
        written = [
            self.part(stage, lead="|> ", minimum=POSTFIX, open_ended=stage is node.target)
            for stage in stages
        ]
        wide = Group(join(first, Nest(join(*(join(SPACE, stage) for stage in written)))))
        if len(stages) == 1 and isinstance(head, ast.Name) and not must_break(wide):
            return Choice(join(first, " ", written[0]), wide)
        return wide

    def _target(self, node: ast.Statics | ast.Apply | ast.Member | ast.Labelled) -> Document:
        # `5%(x)` would be a remainder.
        if isinstance(node.target, ast.Number):
            return f"({node.target.span.text})"
        return self.operand(node.target, POSTFIX)

    def _statics(self, node: ast.Statics) -> Document:
        target = self._target(node)
        return join(target, self.bracketed("[", node.arguments, "]", node.span.end - 1))

    def _apply(self, node: ast.Apply) -> Document:
        target = self._target(node)
        return join(target, self.bracketed("(", node.arguments, ")", node.span.end - 1))

    def _member(self, node: ast.Member) -> Document:
        return join(self._target(node), ".", node.name.name)

    def _labelled(self, node: ast.Labelled) -> Document:
        return join(self._target(node), "@", node.label.name)

    def _named(self, node: ast.NamedArgument) -> Document:
        return join(node.name.name, self.default(node.value))

    def default(self, node: ast.Syntax) -> Document:
        """` = value`, where the comment behind it is one on the whole argument."""
        above = self.comments.before(beginning(node))
        return under(" =", above, self.document(node))

    def _splat(self, node: ast.Splat) -> Document:
        return join("*", self.operand(node.value, POSTFIX))

    # Shapes

    def _rest_axes(self, node: ast.RestAxes) -> Document:
        return f"*{node.name.name}"

    def _tensor_shape(self, node: ast.TensorShape) -> Document:
        return self.bracketed("[", node.axes, "]", node.span.end - 1, firm=True)

    def _list_shape(self, node: ast.ListShape) -> Document:
        count = self.document(node.count)
        return join("list[", count, "] of ", self.document(node.element))


def _unclear(node: ast.Binary, operand: ast.Syntax) -> bool:
    """Whether an operand has parentheses that the grammar does not ask for."""
    if not isinstance(operand, ast.Binary) or operand.operator == node.operator:
        return False
    both = {operand.operator, node.operator}
    if both == {"and", "or"}:
        return True
    return level(operand) == level(node) == _TERM and not both.isdisjoint({"//", "%"})


def _literal(node: ast.Syntax) -> str:
    """The text of a number, perhaps negative, or "" for anything else."""
    if isinstance(node, ast.Number):
        return node.span.text
    if isinstance(node, ast.Unary) and isinstance(node.operand, ast.Number):
        return f"-{node.operand.span.text}"
    return ""


EXPRESSIONS: dict[type[ast.Syntax], Rule] = {
    ast.Identifier: ExpressionPrinter._name,
    ast.Name: ExpressionPrinter._name,
    ast.Number: ExpressionPrinter._as_written,
    ast.Text: ExpressionPrinter._as_written,
    ast.Boolean: ExpressionPrinter._as_written,
    ast.TupleOf: ExpressionPrinter._tuple,
    ast.ListOf: ExpressionPrinter._list,
    ast.Comprehension: ExpressionPrinter._comprehension,
    ast.Range: ExpressionPrinter._range,
    ast.Conditional: ExpressionPrinter._conditional,
    ast.Unary: ExpressionPrinter._unary,
    ast.Binary: ExpressionPrinter._binary,
    ast.Pipe: ExpressionPrinter._pipe,
    ast.NamedArgument: ExpressionPrinter._named,
    ast.Splat: ExpressionPrinter._splat,
    ast.Statics: ExpressionPrinter._statics,
    ast.Apply: ExpressionPrinter._apply,
    ast.Member: ExpressionPrinter._member,
    ast.Labelled: ExpressionPrinter._labelled,
    ast.RestAxes: ExpressionPrinter._rest_axes,
    ast.TensorShape: ExpressionPrinter._tensor_shape,
    ast.ListShape: ExpressionPrinter._list_shape,
}
