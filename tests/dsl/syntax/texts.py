"""What the tests of the parser share: the corpus, marked texts, and ASTs without positions."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

import linvit_dsl
from linvit_dsl.errors import Diagnostic, Source
from linvit_dsl.syntax import ParseResult, parse

PACKAGE = Path(linvit_dsl.__file__).parent
CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.vit"))
SHIPPED = sorted([*(PACKAGE / "std").glob("*.vit"), *(PACKAGE.parent / "specs").glob("*.vit")])


def parsed(text: str) -> ParseResult:
    return parse(Source("a.vit", text))


def in_block(*lines: str) -> str:
    """A file whose one block has these lines as its body."""
    body = "\n".join(f"  {line}" for line in lines)
    return f"block A(x: [B, n, d]) -> [B, n, d] {{\n{body}\n}}\n"


def marked(text: str) -> tuple[str, list[tuple[int, int]]]:
    """A text without its `«` and `»`, and the offsets that they enclosed."""
    spans: list[tuple[int, int]] = []
    clean = ""
    for char in text:
        if char == "«":
            spans.append((len(clean), -1))
        elif char == "»":
            spans[-1] = (spans[-1][0], len(clean))
        else:
            clean += char
    return clean, spans


def places(diagnostics: tuple[Diagnostic, ...]) -> list[tuple[int, int]]:
    return [(found.primary.span.start, found.primary.span.end) for found in diagnostics]


def plain(node: Any) -> Any:
    """An AST as nested tuples without positions and comments, so that two can be compared."""
    if isinstance(node, BaseModel):
        fields = {name: getattr(node, name) for name in type(node).model_fields}
        kept = {key: value for key, value in fields.items() if key not in {"span", "head", "doc"}}
        return tuple((key, plain(value)) for key, value in kept.items())
    if isinstance(node, tuple):
        return tuple(plain(part) for part in node)
    return node


def sketch(node: Any) -> str:
    """An expression with all its parentheses, operators first: `(+ 1 (* 2 n))`."""
    match node.kind:
        case "name":
            return node.name
        case "number":
            return f"{node.value}{node.unit}"
        case "text":
            return f'"{node.value}"'
        case "boolean":
            return str(node.value).lower()
        case "binary":
            return f"({node.operator} {sketch(node.left)} {sketch(node.right)})"
        case "unary":
            return f"({node.operator} {sketch(node.operand)})"
        case "pipe":
            return f"(|> {sketch(node.value)} {sketch(node.target)})"
        case "range":
            return f"(.. {sketch(node.first)} {sketch(node.last)})"
        case "conditional":
            return f"(if {sketch(node.condition)} {sketch(node.yes)} {sketch(node.no)})"
        case "statics":
            return f"{sketch(node.target)}[{', '.join(map(sketch, node.arguments))}]"
        case "apply":
            return f"{sketch(node.target)}({', '.join(map(sketch, node.arguments))})"
        case "named":
            return f"{node.name.name} = {sketch(node.value)}"
        case "splat":
            return f"*{sketch(node.value)}"
        case "labelled":
            return f"{sketch(node.target)}@{node.label.name}"
        case "member":
            return f"{sketch(node.target)}.{node.name.name}"
        case "list" | "tuple":
            inside = ", ".join(map(sketch, node.items))
            return f"[{inside}]" if node.kind == "list" else f"({inside},)"
        case "comprehension":
            binder = ", ".join(name.name for name in node.binder)
            return f"[{sketch(node.body)} for {binder} in {sketch(node.iterable)}]"
        case kind:
            raise ValueError(kind)
