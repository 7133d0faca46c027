"""The last gate: a generated module may do what generated modules do, and nothing else.

Names and numbers of a spec are validated long before. This looks at the outcome alone, so that a
mistake anywhere in the compiler becomes an internal error and not code of a stranger's.
"""

from __future__ import annotations

import ast

from linvit_codegen.names import IMPORTED
from linvit_dsl.errors import InternalError

_NODES = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.ClassDef, ast.FunctionDef,
    ast.arguments, ast.arg, ast.Assign, ast.AnnAssign, ast.Return, ast.For, ast.Expr, ast.Name,
    ast.Attribute, ast.Call, ast.keyword, ast.Constant, ast.Tuple, ast.List, ast.Subscript,
    ast.Slice, ast.BinOp, ast.UnaryOp, ast.USub, ast.operator, ast.GeneratorExp,
    ast.comprehension, ast.Starred, ast.expr_context,
)  # fmt: skip
_IMPORTS = {
    "import torch",
    "import torch.nn.functional as F",
    "from torch import Tensor, nn",
}
_FUNCTIONS = {"range", "super", "zip"}
_ANNOTATIONS = {"Tensor", "bool", "float", "int", "tuple"}
_LIBRARIES = {"F", "init", "kernels", "layers", "nn", "torch", "trace"}
# Of torch's functions, those that read, write, load or compile something.
_FORBIDDEN = {
    "classes", "compile", "export", "hub", "jit", "library", "load", "multiprocessing", "onnx",
    "ops", "package", "save", "serialization", "utils",
}  # fmt: skip


def verify(text: str, top: str, defined: tuple[str, ...]) -> None:
    """Check a generated module.

    Args:
        text: The module.
        top: The class of the model.
        defined: The classes and functions that it is meant to define.

    Raises:
        InternalError: It is not Python, or holds anything that generated modules never do.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise InternalError(f"the generated module of {top} is not Python: {error}") from error
    _Gate(top, defined).check(tree)


class _Gate:
    def __init__(self, top: str, defined: tuple[str, ...]) -> None:
        self._defined = set(defined)
        self._callable = self._defined | _FUNCTIONS
        self._last = f"trace.locate_errors({top}, __file__)"
        self._all = f"__all__ = ['{top}']"

    def check(self, tree: ast.Module) -> None:
        """Check every statement and expression."""
        for statement in tree.body:
            self._top_level(statement)
        for node in ast.walk(tree):
            if isinstance(node, ast.For):  # `for layer in self.layers`
                self._callable |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
        for node in ast.walk(tree):
            if not isinstance(node, _NODES):
                self._refuse(node, f"a {type(node).__name__}")
            if isinstance(node, ast.Attribute):
                self._attribute(node)
            if isinstance(node, ast.Call):
                self._call(node)
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    self._scope(method)
            elif isinstance(node, ast.FunctionDef):
                self._scope(node)

    def _top_level(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            text = ast.unparse(node)
            runtime = isinstance(node, ast.ImportFrom) and node.module == "linvit_runtime"
            known = runtime and all(
                alias.name in _LIBRARIES and alias.asname is None for alias in node.names
            )
            if text not in _IMPORTS and not known:
                self._refuse(node, f"`{text}`")
        elif isinstance(node, ast.ClassDef):
            plain = not node.decorator_list and not node.keywords
            if node.name not in self._defined or not plain:
                self._refuse(node, f"class {node.name}")
            if [ast.unparse(base) for base in node.bases] != ["nn.Module"]:
                self._refuse(node, f"the bases of {node.name}")
            for inner in node.body:
                self._class_level(inner)
        elif isinstance(node, ast.FunctionDef):
            if node.name not in self._defined or node.decorator_list:
                self._refuse(node, f"function {node.name}")
        elif ast.unparse(node) not in (self._last, self._all):
            self._refuse(node, f"`{ast.unparse(node)}`")

    def _class_level(self, node: ast.stmt) -> None:
        is_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_annotation = isinstance(node, ast.AnnAssign) and node.value is None
        is_method = (
            isinstance(node, ast.FunctionDef)
            and node.name in ("__init__", "forward")
            and not node.decorator_list
        )
        if not (is_doc or is_annotation or is_method):
            self._refuse(node, f"`{ast.unparse(node)[:60]}` in a class")

    def _scope(self, function: ast.stmt) -> None:
        """Every name that is read is an argument, assigned here, defined here or imported."""
        bound = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        bound |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
        clash = bound & (IMPORTED | _FUNCTIONS | self._defined)
        if clash:
            self._refuse(function, f"a variable called {min(clash)}")
        known = bound | IMPORTED | _FUNCTIONS | _ANNOTATIONS | self._defined
        for node in names:
            if node.id not in known:
                self._refuse(node, f"the name {node.id}")

    def _attribute(self, node: ast.Attribute) -> None:
        if node.attr.startswith("_") and ast.unparse(node) != "super().__init__":
            self._refuse(node, f"the attribute {node.attr}")
        if isinstance(node.value, ast.Name) and node.value.id in _LIBRARIES:
            if node.attr in _FORBIDDEN:
                self._refuse(node, f"{node.value.id}.{node.attr}")
        elif isinstance(node.ctx, ast.Store) and ast.unparse(node.value) != "self":
            self._refuse(node, f"an assignment to {ast.unparse(node)}")

    def _call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Name) and function.id in self._callable:
            return
        if isinstance(function, ast.Attribute | ast.Subscript):
            return
        self._refuse(node, f"a call of `{ast.unparse(function)}`")

    def _refuse(self, node: ast.AST, what: str) -> None:
        line = getattr(node, "lineno", "?")
        raise InternalError(f"line {line} of a generated module holds {what}")
