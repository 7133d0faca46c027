"""Pieces of `linvit_runtime` that a standalone module carries along, as they stand there.

A generated module calls `layers.attend` and `init.normal`. A standalone one holds the definitions
that it needs, and whatever those need in turn, under the names `attend` and `init_normal`. They are
cut out of the source files of the runtime, which are read and never imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from linvit_dsl.errors import InternalError

_MODULES = ("init", "layers")
"""Modules of the runtime whose definitions can be carried along, in this order."""
_USE = re.compile(r"(?<![\w.])(init|layers)\.(\w+)")
Import = tuple[str, str]
"""A module, and a name in it; "" for the module itself."""

LIBRARIES: Mapping[str, Import] = {
    "F": ("torch.nn.functional as F", ""),
    "torch": ("torch", ""),
}
"""What generated modules call in torch."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A definition at the top level of a module.

    Args:
        text: Its source, under the names of standalone modules, with the comment above it.
        needs: The names of other pieces.
        imports: What it takes from elsewhere.
    """

    text: str
    needs: tuple[str, ...]
    imports: tuple[Import, ...]


class Embedding:
    """The pieces that one module uses."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def local(self, expression: str) -> str:
        """The expression with `layers.attend` as `attend`, noting that it is used."""

        def replaced(match: re.Match[str]) -> str:
            name = local_name(match[1], match[2])
            self._used.add(name)
            return name

        return _USE.sub(replaced, expression)

    @property
    def pieces(self) -> dict[str, Piece]:
        """What is used and what that needs, in the order of the runtime, by name."""
        known, wanted = all_pieces(), set(self._used)
        while more := {name for one in wanted for name in known[one].needs} - wanted:
            wanted |= more
        return {name: piece for name, piece in known.items() if name in wanted}


def local_name(module: str, name: str) -> str:
    """What a definition of the runtime is called in a standalone module."""
    return f"init_{name}" if module == "init" and name.islower() and name[0] != "_" else name


@cache
def all_pieces() -> Mapping[str, Piece]:
    """Everything that can be carried along, by name.

    Raises:
        InternalError: Two pieces have the same name.
    """
    from importlib import resources  # only standalone modules need it

    found: dict[str, Piece] = {}
    for module in _MODULES:
        source = (resources.files("linvit_runtime") / f"{module}.py").read_text(encoding="utf-8")
        for name, piece in _cut(module, source).items():
            if name in found:
                raise InternalError(f"two modules of the runtime define {name}")
            found[name] = piece
    return found


def import_lines(imports: Iterable[Import]) -> list[str]:
    """Import statements, sorted as ruff sorts them: the standard library, then torch."""
    by_module: dict[str, list[str]] = {}
    for module, name in sorted(set(imports)):
        by_module.setdefault(module, []).append(name)
    plain = [f"import {module}" for module, names in by_module.items() if "" in names]
    drawn = {module: [n for n in names if n] for module, names in by_module.items()}
    froms = [
        f"from {module} import {', '.join(sorted(names, key=_import_order))}"
        for module, names in drawn.items()
        if names
    ]
    lines = sorted(plain) + froms
    ours = [line for line in lines if line.split()[1].split(".")[0] == "torch"]
    library = [line for line in lines if line not in ours]
    return [*library, "", *ours] if library else ours


def _import_order(name: str) -> tuple[int, str]:
    return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2, name)


def _cut(module: str, source: str) -> dict[str, Piece]:
    """The definitions of a module."""
    tree = ast.parse(source)
    imports = _imports(tree)
    nodes = {name: node for node in tree.body if (name := _defined(node))}
    renamed = {name: local_name(module, name) for name in nodes}
    lines = source.splitlines()
    pieces: dict[str, Piece] = {}
    for name, node in nodes.items():
        used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        needs = tuple(renamed[other] for other in nodes if other in used and other != name)
        taken = tuple(imports[word] for word in sorted(used) if word in imports)
        pieces[renamed[name]] = Piece(_text(lines, node, renamed), needs, taken)
    return pieces


def _imports(tree: ast.Module) -> dict[str, Import]:
    """What the module imports, by the name that it uses."""
    found: dict[str, Import] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name: (alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return found | {name: place for name, place in LIBRARIES.items() if name in found}


def _defined(node: ast.stmt) -> str:
    """The name that a statement defines, "" if none."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def _text(lines: list[str], node: ast.stmt, renamed: Mapping[str, str]) -> str:
    """The source of a definition, with the comment above it, under other names."""
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
    last = node.end_lineno or node.lineno
    own = {line: lines[line] for line in range(first, last)}
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in renamed]
    for name in sorted(names, key=lambda n: (n.lineno, n.col_offset), reverse=True):
        # Columns count bytes.
        line = own[name.lineno - 1].encode()
        head, tail = line[: name.col_offset], line[name.col_offset + len(name.id.encode()) :]
        own[name.lineno - 1] = head.decode() + renamed[name.id] + tail.decode()
    if isinstance(node, ast.FunctionDef):
        line = node.lineno - 1
        own[line] = own[line].replace(f"def {node.name}(", f"def {renamed[node.name]}(", 1)
    while first and lines[first - 1].startswith("#"):
        first -= 1
    comment = [line for line in lines[first : min(own)] if line.startswith("#")]
    return "\n".join([*comment, *own.values()])
