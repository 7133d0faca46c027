"""Prints Python expressions, and breaks long statements where a formatter would.

An expression arrives as text, is parsed, and is printed again from its tree: only the kinds of
expression listed here can reach a generated file. The layout is that of `ruff format`.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from linvit_dsl.errors import InternalError

WIDTH = 88
_INDENT = 4

_OPERATORS: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: ("+", 4),
    ast.Sub: ("-", 4),
    ast.Mult: ("*", 5),
    ast.Div: ("/", 5),
    ast.MatMult: ("@", 5),
    ast.FloorDiv: ("//", 5),
    ast.Mod: ("%", 5),
    ast.Pow: ("**", 8),
}
_UNARY, _ATOM = 7, 9


def statement(prefix: str, expression: str, indent: int, suffix: str = "") -> list[str]:
    """The lines of `prefix expression suffix`, each starting with `indent` spaces.

    `prefix` is such as `x = ` or `return `; a tuple is written without parentheses.

    Raises:
        InternalError: The expression has a kind that generated code never has.
    """
    node = _parse(expression)
    margin = " " * indent
    flat = margin + prefix + _bare(node) + suffix
    if len(flat) <= WIDTH:
        return [flat]
    if _wants_parentheses(node, indent + len(prefix)):
        inside = _broken(node, indent + _INDENT, 0)
        lines = [f"{margin}{prefix}(", *inside.split("\n"), f"{margin}){suffix}"]
        return [lines[0], " " * (indent + _INDENT) + inside.split("\n")[0], *lines[2:]]
    return (margin + prefix + _lay(node, indent, len(prefix), len(suffix)) + suffix).split("\n")


def signature(head: str, parameters: Sequence[str], result: str, indent: int) -> list[str]:
    """The lines of `def name(parameters) -> result:`."""
    margin = " " * indent
    flat = f"{margin}{head}({', '.join(parameters)}){result}:"
    if len(flat) <= WIDTH:
        return [flat]
    inside = " " * (indent + _INDENT)
    joined = inside + ", ".join(parameters)
    if len(joined) <= WIDTH:
        return [f"{margin}{head}(", joined, f"{margin}){result}:"]
    return [f"{margin}{head}(", *(f"{inside}{p}," for p in parameters), f"{margin}){result}:"]


def flat(expression: str) -> str:
    """The expression on one line."""
    return _flat(_parse(expression))


def _parse(expression: str) -> ast.expr:
    try:
        return ast.parse(expression, mode="eval").body
    except SyntaxError as error:
        raise InternalError(f"generated an expression that is none: {expression!r}") from error


def _bare(node: ast.expr) -> str:
    text = _flat(node)
    return text[1:-1] if isinstance(node, ast.Tuple) and len(node.elts) > 1 else text


def _flat(node: ast.expr, least: int = 0) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=value):
            return _constant(value)
        case ast.Attribute(value=value, attr=name):
            return f"{_flat(value, _ATOM)}.{name}"
        case ast.Call(func=function):
            return f"{_flat(function, _ATOM)}({', '.join(map(_flat, _arguments(node)))})"
        case ast.Subscript(value=value, slice=key):
            inside = _bare(key)
            return f"{_flat(value, _ATOM)}[{inside}]"
        case ast.Tuple(elts=items):
            return f"({', '.join(map(_flat, items))}{',' if len(items) == 1 else ''})"
        case ast.List(elts=items):
            return f"[{', '.join(map(_flat, items))}]"
        case ast.BinOp(left=left, op=operator, right=right):
            sign, precedence = _operator(operator)
            gap = "" if isinstance(operator, ast.Pow) else " "
            text = f"{_flat(left, precedence)}{gap}{sign}{gap}{_flat(right, precedence + 1)}"
            return text if precedence >= least else f"({text})"
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            text = f"-{_flat(operand, _UNARY)}"
            return text if least <= _UNARY else f"({text})"
        case ast.Slice(lower=lower, upper=upper, step=None):
            return f"{_flat(lower) if lower else ''}:{_flat(upper) if upper else ''}"
        case ast.GeneratorExp(elt=element, generators=[loop]):
            return f"{_flat(element)} {_generator_tail(loop)}"
        case ast.Starred(value=value):
            return f"*{_flat(value, _ATOM)}"
        case _Keyword(name=name, value=value):
            return f"{name}={_flat(value)}"
        case _:
            raise InternalError(f"generated code never has a {type(node).__name__}")


class _Keyword(ast.expr):
    """A keyword argument, seen as an expression so that arguments are one list."""

    __match_args__ = ("name", "value")

    def __init__(self, name: str, value: ast.expr) -> None:
        super().__init__()
        self.name = name
        self.value = value


def _arguments(node: ast.Call) -> list[ast.expr]:
    keywords = [_Keyword(str(keyword.arg), keyword.value) for keyword in node.keywords]
    if any(keyword.arg is None for keyword in node.keywords):
        raise InternalError("generated code never has **keywords")
    return [*node.args, *keywords]


def _constant(value: object) -> str:
    if isinstance(value, str):
        inside = repr(value)[1:-1]
        return repr(value) if '"' in value else f'"{inside}"'
    return "..." if value is ... else repr(value)


def _operator(operator: ast.operator) -> tuple[str, int]:
    if type(operator) not in _OPERATORS:
        raise InternalError(f"generated code never has a {type(operator).__name__}")
    return _OPERATORS[type(operator)]


def _generator_tail(loop: ast.comprehension) -> str:
    if loop.ifs or loop.is_async:
        raise InternalError("generated comprehensions have no conditions")
    return f"for {_bare(loop.target)} in {_flat(loop.iter)}"


def _wants_parentheses(node: ast.expr, column: int) -> bool:
    """Whether a statement breaks inside parentheses of its own, not inside its last bracket."""
    if isinstance(node, ast.Tuple):
        return True
    if _is_fluent(node):
        return True
    if isinstance(node, ast.BinOp):
        if len(_operands(node)) > 2:
            return True
        starts_with_bracket = _bracket(node.left, _operator(node.op)[1])
        return not starts_with_bracket and not _ends_with_bracket(node)
    if isinstance(node, ast.UnaryOp):
        return not _ends_with_bracket(node)
    return False


def _ends_with_bracket(node: ast.expr) -> bool:
    match node:
        case ast.Call():
            return bool(_arguments(node))
        case ast.Subscript() | ast.Tuple() | ast.List():
            return True
        case ast.BinOp(op=operator, right=right):
            needs = (
                isinstance(right, ast.BinOp) and _operator(right.op)[1] <= _operator(operator)[1]
            )
            return needs or _ends_with_bracket(right)
        case ast.UnaryOp(operand=operand):
            return _ends_with_bracket(operand)
        case _:
            return False


def _is_fluent(node: ast.expr) -> bool:
    """Whether `node` is a chain with two or more methods called on the result of a call."""
    links = 0
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        inner = node.func.value
        if isinstance(inner, ast.Call | ast.Subscript | ast.BinOp):
            links += 1
        node = inner
    return links >= 2


def _operands(node: ast.expr) -> list[tuple[str, str, ast.expr]]:
    """`a + b - c` as [("", a), ("+", b), ("-", c)], operators of one precedence only.

    The middle element of each triple is how the operand must be parenthesised: "(" or "".
    """
    if not isinstance(node, ast.BinOp) or isinstance(node.op, ast.Pow):
        return [("", "", node)]
    sign, precedence = _operator(node.op)
    left = node.left
    same = isinstance(left, ast.BinOp) and _operator(left.op)[1] == precedence
    first = _operands(left) if same else [("", _bracket(left, precedence), left)]
    return [*first, (sign, _bracket(node.right, precedence + 1), node.right)]


def _bracket(node: ast.expr, least: int) -> str:
    return "(" if isinstance(node, ast.BinOp) and _operator(node.op)[1] < least else ""


def _lay(node: ast.expr, indent: int, column: int, tail: int) -> str:
    """`node` on one line if it fits, else broken; `column` counts from `indent`."""
    text = _flat(node)
    if indent + column + len(text) + tail <= WIDTH:
        return text
    match node:
        case ast.Call():
            return _lay_call(node, indent, column, tail)
        case ast.Subscript(value=value, slice=key):
            items = key.elts if isinstance(key, ast.Tuple) else [key]
            return f"{_flat(value, _ATOM)}[{_items(items, indent, explode=True)}]"
        case ast.Tuple(elts=items):
            return f"({_items(items, indent, explode=True)})"
        case ast.List(elts=items):
            return f"[{_items(items, indent, explode=True)}]"
        case _Keyword(name=name, value=value):
            return f"{name}={_lay(value, indent, column + len(name) + 1, tail)}"
        case ast.UnaryOp(operand=operand):
            lay = _parenthesised if isinstance(operand, ast.BinOp) else _lay
            return f"-{lay(operand, indent, column + 1, tail)}"
        case ast.BinOp():
            return _lay_last(node, indent, column, tail)
        case _:
            return text


def _lay_call(node: ast.Call, indent: int, column: int, tail: int) -> str:
    arguments = _arguments(node)
    function = node.func
    head = _flat(function, _ATOM)
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Call | ast.BinOp):
        receiver = function.value
        # `f(long).method(short)`: break where the length is.
        if indent + column + len(head) >= WIDTH:
            end = f".{function.attr}({', '.join(map(_flat, arguments))})"
            if isinstance(receiver, ast.BinOp):
                margin = " " * indent
                inside = _broken(receiver, indent + _INDENT, 0)
                return f"(\n{margin}    {inside}\n{margin}){end}"
            return _lay(receiver, indent, column, tail + len(end)) + end
    if not arguments:
        return f"{head}()"
    return f"{head}({_items(arguments, indent, explode=False)})"


def _items(items: Sequence[ast.expr], indent: int, *, explode: bool) -> str:
    """The inside of a bracket, on lines of its own."""
    margin, inside = " " * indent, " " * (indent + _INDENT)
    if len(items) == 1 and isinstance(items[0], ast.GeneratorExp):
        generator = items[0]
        (loop,) = generator.generators
        element = _lay(generator.elt, indent + _INDENT, 0, 0)
        head = f"for {_bare(loop.target)} in "
        iterable = _lay(loop.iter, indent + _INDENT, len(head), 0)
        text = f"{element}\n{inside}{head}{iterable}"
        joined = _flat(generator)
        text = joined if len(inside) + len(joined) <= WIDTH else text
        return f"\n{inside}{text}\n{margin}"
    joined = ", ".join(map(_flat, items))
    if not explode and len(inside) + len(joined) <= WIDTH:
        return f"\n{inside}{joined}\n{margin}"
    if len(items) == 1 and not explode:
        return f"\n{inside}{_broken(items[0], indent + _INDENT, 0)}\n{margin}"
    lines = [f"{inside}{_broken(item, indent + _INDENT, 1)}," for item in items]
    return "\n" + "\n".join(lines) + f"\n{margin}"


def _broken(node: ast.expr, indent: int, tail: int) -> str:
    """`node` inside a bracket: operators and methods may begin lines. Starts without margin."""
    text = _bare(node) if isinstance(node, ast.Tuple) and not tail else _flat(node)
    if indent + len(text) + tail <= WIDTH and not isinstance(node, ast.Tuple):
        return text
    margin = " " * indent
    if isinstance(node, ast.Tuple) and not tail:
        lines = [f"{_broken(item, indent, 1)}," for item in node.elts]
        return f"\n{margin}".join(lines)
    if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Pow):
        return f"\n{margin}".join(_operator_lines(node, "", indent, tail))
    if _is_fluent(node):
        return f"\n{margin}".join(_chain(node, indent, tail))
    return _lay(node, indent, 0, tail)


def _operator_lines(node: ast.BinOp, start: str, indent: int, tail: int) -> list[str]:
    """`a + b * c` as `a`, `+ b * c`; an operand too long for a line is treated alike."""
    lines: list[str] = []
    for sign, bracket, operand in _operands(node):
        head = f"{sign} " if sign else start
        fits = indent + len(head) + len(_flat(operand)) + tail <= WIDTH
        if bracket:
            lines.append(head + _parenthesised(operand, indent, len(head), tail))
        elif fits:
            lines.append(head + _flat(operand))
        elif isinstance(operand, ast.BinOp) and not isinstance(operand.op, ast.Pow):
            lines += _operator_lines(operand, head, indent, tail)
        elif _is_fluent(operand):
            first, *rest = _chain(operand, indent, tail)
            lines += [head + first, *rest]
        else:
            lines.append(head + _lay(operand, indent, len(head), tail))
    return lines


def _parenthesised(node: ast.expr, indent: int, column: int, tail: int) -> str:
    text = _flat(node)
    if indent + column + len(text) + 2 + tail <= WIDTH:
        return f"({text})"
    margin = " " * indent
    return f"(\n{margin}    {_broken(node, indent + _INDENT, 0)}\n{margin})"


def _chain(node: ast.expr, indent: int, tail: int) -> list[str]:
    """`x.a(1).b(2).c(3)` as `x.a(1)`, `.b(2)`, `.c(3)`."""
    links: list[str] = []
    while (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Call | ast.Subscript | ast.BinOp)
    ):
        start = f".{node.func.attr}"
        inside = ", ".join(map(_flat, _arguments(node)))
        link = f"{start}({inside})"
        if indent + len(link) + tail > WIDTH:
            link = f"{start}({_items(_arguments(node), indent, explode=False)})"
        links.append(link)
        node = node.func.value
    first = _flat(node, _ATOM)
    if indent + len(first) > WIDTH:
        first = _lay(node, indent, 0, 0)
    return [first, *reversed(links)]


def _lay_last(node: ast.BinOp, indent: int, column: int, tail: int) -> str:
    """`a + f(b)` broken in the brackets of its last operand, and of its first if it must."""
    sign, precedence = _operator(node.op)
    end = f" {sign} "
    left = _flat(node.left, precedence)
    lay_right = _parenthesised if _bracket(node.right, precedence + 1) else _lay
    # As if there were no room left on the line: what comes first on it nevertheless.
    opening = len(lay_right(node.right, indent, 10**6, 0).split("\n")[0])
    if indent + column + len(left) + len(end) + opening > WIDTH:
        lay_left = _parenthesised if _bracket(node.left, precedence) else _lay
        left = lay_left(node.left, indent, column, len(end) + opening)
    start = len(left.split("\n")[-1]) + (column if "\n" not in left else -indent) + len(end)
    return left + end + lay_right(node.right, indent, start, tail)
