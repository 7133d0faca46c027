"""The last gate: a generated module may do what generated modules do, and nothing else.

Names and numbers of a spec are validated long before. This looks at the outcome alone, so that a
mistake anywhere in the compiler becomes an internal error and not code of a stranger's; and so that
the module in a run folder from elsewhere can be refused before it runs.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from linvit_codegen.embedded import Import, all_pieces
from linvit_codegen.names import BUILTINS, IMPORTED
from linvit_dsl.errors import InternalError

_NODES = (
    ast.Module, ast.Import, ast.ImportFrom, ast.alias, ast.ClassDef, ast.FunctionDef,
    ast.arguments, ast.arg, ast.Assign, ast.AnnAssign, ast.Return, ast.For, ast.Expr, ast.Name,
    ast.Attribute, ast.Call, ast.keyword, ast.Constant, ast.Tuple, ast.List, ast.Subscript,
    ast.Slice, ast.BinOp, ast.UnaryOp, ast.USub, ast.operator, ast.GeneratorExp,
    ast.comprehension, ast.Starred, ast.expr_context,
)  # fmt: skip
# A set of exact types, because this is asked of every node of a file.
_ALLOWED = frozenset({*_NODES, *(kind for base in _NODES for kind in base.__subclasses__())})
_PLACED = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)
_IMPORTS = {
    "import torch",
    "import torch.nn.functional as F",
    "from torch import Tensor, nn",
}
_FUTURE = "from __future__ import annotations"
"""How standalone modules begin, and no others do."""
_FUNCTIONS = {"range", "super", "zip"}
_ANNOTATIONS = {"Tensor", "bool", "float", "int", "tuple"}
# What is not listed is refused: `torch.load` runs code, and so does `torch.os.system`.
_LIBRARIES = {
    "F": {
        "adaptive_avg_pool2d", "elu", "gelu", "hardswish", "interpolate", "pad", "relu",
        "scaled_dot_product_attention", "silu", "unfold",
    },
    "init": {
        "constant", "dirac", "normal", "orthogonal_features", "segment_means", "trunc_normal",
        "xavier", "zeros",
    },
    "kernels": {"linear_attention"},
    "layers": {
        "BufferList", "Constant", "DropPath", "attend", "expect_shape", "float32", "joint_linear",
        "redraw_every",
    },
    "nn": {
        "BatchNorm2d", "Conv2d", "Dropout", "LayerNorm", "Linear", "Module", "ModuleList",
        "Parameter", "ParameterList", "RMSNorm",
    },
    "torch": {
        "abs", "arange", "cat", "cos", "einsum", "empty", "exp", "eye", "ones", "sigmoid", "sin",
        "stack", "tanh",
    },
    "trace": {"locate_errors"},
}  # fmt: skip
_METHODS = {
    "amax", "detach", "expand", "flatten", "mean", "permute", "pow", "repeat_interleave", "reshape",
    "shape", "softmax", "split", "squeeze", "sum", "transpose", "unflatten", "unsqueeze",
}  # fmt: skip
"""Of tensors."""
_RESERVED = IMPORTED | BUILTINS


class NotGenerated(Exception):
    """A module holds what generated modules never do.

    Args:
        line: Where, from 1.
        what: That which is found there.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(line, what)
        self.line = line
        self.what = what

    def __str__(self) -> str:
        return f"line {self.line} holds {self.what}, which generated modules never do"


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
        _Gate(top, defined).check(_parsed(text))
    except NotGenerated as error:
        raise InternalError(f"{error.what} in line {error.line} of the module of {top}") from error


def expect_generated(text: str) -> ast.Module:
    """The syntax tree of a module of unknown origin, which may be compiled and run as it is.

    Raises:
        NotGenerated: It holds anything that generated modules never do.
    """
    tree = _parsed(text)
    defined = [n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    exports = {_text(node) for node in tree.body if isinstance(node, ast.Assign)}
    exported = [name for name in defined if f"__all__ = ['{name}']" in exports]
    if not exported:
        raise NotGenerated(1, "no model")
    _Gate(exported[0], tuple(defined)).check(tree)
    return tree


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise NotGenerated(error.lineno or 1, f"what is not Python ({error.msg})") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise NotGenerated(1, f"what is not Python ({error})") from error


def _text(node: ast.AST) -> str:
    try:
        return ast.unparse(node)
    except RecursionError:
        return "something nested too deeply"


def _outside(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement of the module and all in it; of a class only the head."""
    if isinstance(statement, ast.ClassDef):
        yield statement
        for name, parts in ast.iter_fields(statement):
            for part in parts if name not in ("name", "body") else ():
                yield from ast.walk(part)
    else:
        yield from ast.walk(statement)


def _takes(node: ast.Import | ast.ImportFrom, allowed: set[Import]) -> bool:
    """Whether a statement imports only what it may, under no other names."""
    if any(alias.asname for alias in node.names):
        return False
    if isinstance(node, ast.Import):
        return all((alias.name, "") in allowed for alias in node.names)
    return not node.level and all((node.module, alias.name) in allowed for alias in node.names)


def _is_plain(function: ast.FunctionDef) -> bool:
    """Whether nothing decorates it, but at most that it computes in float32."""
    decorators = [_text(decorator) for decorator in function.decorator_list]
    return decorators in ([], ["layers.float32"], ["float32"])


class _Gate:
    def __init__(self, top: str, defined: tuple[str, ...]) -> None:
        self._defined = set(defined)
        self._callable = self._defined | _FUNCTIONS
        self._known = {*IMPORTED, *_FUNCTIONS, *_ANNOTATIONS, *self._defined}
        self._last = f"trace.locate_errors({top}, __file__)"
        self._all = f"__all__ = ['{top}']"

    def check(self, tree: ast.Module) -> None:
        """Check every statement and expression."""
        tree = self._without_pieces(tree)
        for statement in tree.body:
            self._top_level(statement)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        placed = {*tree.body, *(node for class_ in classes for node in class_.body)}
        functions: list[ast.stmt] = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
        functions += [node for class_ in classes for node in class_.body]
        # Walking takes most of the time, so what is inside of a function is found once.
        inside = {function: list(ast.walk(function)) for function in functions}
        nodes = [node for part in inside.values() for node in part]
        nodes += [node for part in tree.body if part not in inside for node in _outside(part)]
        for node in nodes:
            if isinstance(node, _PLACED) and node not in placed:
                self._refuse(node, f"`{_text(node)[:60]}` in a function")
            if isinstance(node, ast.For):  # `for layer in self.layers`
                self._callable |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
        for node in nodes:
            if type(node) not in _ALLOWED:
                self._refuse(node, f"a {type(node).__name__}")
            if isinstance(node, ast.Attribute):
                self._attribute(node)
            if isinstance(node, ast.Call):
                self._call(node)
        for function in functions:
            self._scope(function, inside[function])

    def _without_pieces(self, tree: ast.Module) -> ast.Module:
        """What is left of a standalone module without what it carries along of the runtime.

        A piece is known by all of its text, so that nothing else can pass for it.
        """
        if [_text(node) for node in tree.body[:1]] != [_FUTURE]:
            return tree
        pieces = {ast.dump(ast.parse(p.text).body[0]): name for name, p in all_pieces().items()}
        imports = {place for piece in all_pieces().values() for place in piece.imports}
        imports |= {("torch", "Tensor"), ("torch", "nn")}
        kept: list[ast.stmt] = []
        for node in tree.body[1:]:
            name = pieces.get(ast.dump(node))
            if name is not None:
                self._known.add(name)
                self._callable.add(name)
            elif not isinstance(node, ast.Import | ast.ImportFrom) or not _takes(node, imports):
                kept.append(node)
        return ast.Module(kept, [])

    def _top_level(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            text = _text(node)
            runtime = (
                isinstance(node, ast.ImportFrom)
                and node.module == "linvit_runtime"
                and not node.level
            )
            known = runtime and all(
                alias.name in _LIBRARIES and alias.asname is None for alias in node.names
            )
            if text not in _IMPORTS and not known:
                self._refuse(node, f"`{text}`")
        elif isinstance(node, ast.ClassDef):
            plain = not node.decorator_list and not node.keywords
            if not (self._may_define(node.name) and plain):
                self._refuse(node, f"class {node.name}")
            if [_text(base) for base in node.bases] != ["nn.Module"]:
                self._refuse(node, f"the bases of {node.name}")
            for inner in node.body:
                self._class_level(inner)
        elif isinstance(node, ast.FunctionDef):
            if not self._may_define(node.name) or not _is_plain(node):
                self._refuse(node, f"function {node.name}")
        elif _text(node) not in (self._last, self._all):
            self._refuse(node, f"`{_text(node)[:60]}`")

    def _may_define(self, name: str) -> bool:
        return name in self._defined - _RESERVED and not name.startswith("_")

    def _class_level(self, node: ast.stmt) -> None:
        is_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_annotation = (
            isinstance(node, ast.AnnAssign)
            and node.value is None
            and isinstance(node.target, ast.Name)
            and _text(node.annotation) == "Tensor"
        )
        is_method = (
            isinstance(node, ast.FunctionDef)
            and (node.name == "forward" or (node.name == "__init__" and not node.decorator_list))
            and _is_plain(node)
        )
        if not (is_doc or is_annotation or is_method):
            self._refuse(node, f"`{_text(node)[:60]}` in a class")

    def _scope(self, function: ast.stmt, nodes: list[ast.AST]) -> None:
        """Every name that is read is an argument, assigned here, defined here or imported.

        No variable has a name that means something else, so that none is called in its place.
        """
        for node in nodes:
            if isinstance(node, ast.arguments) and (node.defaults or node.kw_defaults):
                self._refuse(function, "a default")
        bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
        names = [node for node in nodes if isinstance(node, ast.Name)]
        bound |= {node.id for node in names if isinstance(node.ctx, ast.Store)}
        clash = bound & (_RESERVED | self._defined) | {n for n in bound if n.startswith("__")}
        if clash:
            self._refuse(function, f"a variable called {min(clash)}")
        known = bound | self._known
        for node in names:
            if node.id not in known:
                self._refuse(node, f"the name {node.id}")

    def _attribute(self, node: ast.Attribute) -> None:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        if owner == "self" and not node.attr.startswith("_"):
            return
        if isinstance(node.ctx, ast.Store):
            self._refuse(node, f"an assignment to {_text(node)}")
        known = node.attr in _LIBRARIES.get(owner, _METHODS)
        if not known and _text(node) != "super().__init__":
            self._refuse(node, f"{owner}.{node.attr}" if owner else f"the attribute {node.attr}")

    def _call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Name) and function.id in self._callable:
            return
        if isinstance(function, ast.Attribute | ast.Subscript):
            return
        self._refuse(node, f"a call of `{_text(function)[:60]}`")

    def _refuse(self, node: ast.AST, what: str) -> None:
        raise NotGenerated(getattr(node, "lineno", 1), what)
