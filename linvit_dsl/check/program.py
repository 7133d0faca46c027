"""A `.vit` file with everything that it imports: read, parsed, and its names resolved.

Takes: a path. Gives: a `Program` with all findings so far; a spec's mistakes never raise here.
Non-goals: shapes and sizes, which elaboration checks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from linvit_dsl.check.files import STANDARD_LIBRARY, module_path, project_root, specs_root
from linvit_dsl.check.names import resolve_names
from linvit_dsl.check.values import UNKNOWN, BlockValue, ModuleValue, Static, Unknown
from linvit_dsl.errors import Diagnostic, Fix, Source, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ParseResult, ast, parse, read_source


@dataclass(eq=False)
class Module:
    """One parsed file. `names` is its top level: blocks, imports, and constants once evaluated."""

    source: Source
    path: Path
    file: ast.File
    names: dict[str, Static | Unknown] = field(default_factory=dict)
    constants: dict[str, ast.Constant] = field(default_factory=dict)
    borrowed: dict[str, Module] = field(default_factory=dict)
    depth: int = 0

    def has_constant(self, name: str) -> bool:
        """Whether the top level calls a constant `name`, its own or an imported one."""
        return name in self.constants or name in self.borrowed

    @property
    def declared(self) -> frozenset[str]:
        """All names of the top level."""
        return frozenset((*self.names, *self.constants, *self.borrowed))


@dataclass(eq=False)
class Program:
    """A root module and all others that it reaches.

    `diagnostics` holds what reading, parsing and resolving found; `flagged` the places of names
    already reported as unknown, so that elaboration stays silent about them.
    """

    root: Module
    modules: dict[Path, Module]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    flagged: set[tuple[str, int]] = field(default_factory=set)

    @property
    def sources(self) -> tuple[Source, ...]:
        """All texts, the root first."""
        return tuple(module.source for module in self.modules.values())

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models that the root file declares, in order."""
        declared = (
            item for item in self.root.file.items if isinstance(item, ast.Block | ast.Alias)
        )
        return tuple(item.name.name for item in declared if item.keyword == "model")

    def items(self, kind: type[ast.Recipe] | type[ast.Train]) -> dict[str, ast.Item]:
        """Recipes by name, or trainings by the model's name, of the root file."""
        found: dict[str, ast.Item] = {}
        for item in self.root.file.items:
            if isinstance(item, kind):
                key = item.name if isinstance(item, ast.Recipe) else item.model
                found[key.name] = item
        return found


def open_program(path: Path | str, text: str | None = None) -> Program:
    """Read a spec and everything that it imports.

    `text` stands for what the file holds, if it is given: an edit that has not been saved.

    Raises:
        SpecError: E07xx, the file itself cannot be read.
    """
    path = Path(path)
    reader = _Reader(project_root(path))
    root = reader.read(path, display_name(path), path.stem, 0, text)
    program = Program(root, reader.modules, reader.diagnostics)
    for module in list(reader.modules.values()):
        resolve_names(module, program)
    return program


def display_name(path: Path) -> str:
    """How messages call a file: short for the library and the shipped specs, else as given."""
    resolved = path.resolve()
    for folder, prefix in ((STANDARD_LIBRARY, "std"), (specs_root(), "specs")):
        if resolved.parent == folder:
            return f"{prefix}/{path.name}"
    return str(path)


class _Reader:
    """Follows imports depth first, each file once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.modules: dict[Path, Module] = {}
        self.diagnostics: list[Diagnostic] = []
        self._open: list[Path] = []
        self._bytes = 0

    def read(
        self, path: Path, name: str, module_name: str, depth: int, text: str | None = None
    ) -> Module:
        if text is None:
            source = read_source(path, name=name, module=module_name)
        else:
            source = Source(name, text, module_name)
        self._bytes += len(source.text)
        if path.parent == STANDARD_LIBRARY:
            source, result = _parsed_once(path, name, module_name, source.text)
        else:
            result = parse(source)
        self.diagnostics += result.diagnostics
        module = Module(source, path, result.file, depth=depth)
        self.modules[path.resolve()] = module
        self._open.append(path.resolve())
        for item in module.file.items:
            try:
                self._declare(item, module)
            except SpecError as error:
                self.diagnostics += error.diagnostics
                if isinstance(item, ast.Import):
                    _lose(item, module)
        self._open.pop()
        return module

    def _declare(self, item: ast.Item, module: Module) -> None:
        match item:
            case ast.Import():
                self._import(item, module)
            case ast.Block() | ast.Alias():
                self._bind(module, item.name, BlockValue(item, module))
            case ast.Constant():
                self._bind(module, item.name, None)
                module.constants[item.name.name] = item
            case _:
                pass

    def _bind(self, module: Module, name: ast.Identifier, value: Static | Unknown | None) -> None:
        if name.name in module.declared:
            raise SpecError(diagnose("E0210", name.span, name=name.name))
        if value is not None:
            module.names[name.name] = value

    def _import(self, item: ast.Import, module: Module) -> None:
        target = self._target(item, module)
        if not item.names:
            alias = item.alias or ast.Identifier.model_construct(
                name=item.module[-1], span=item.span
            )
            self._bind(module, alias, ModuleValue(target))
        for name in item.names:
            if target.has_constant(name.name):
                self._bind(module, name, None)
                module.borrowed[name.name] = target
                continue
            value = target.names.get(name.name)
            if value is None:
                near = nearest(name.name, target.declared)
                helps = (f"did you mean `{near}`?",) if near else ()
                fixes = (Fix(name.span, near, f"import `{near}`"),) if near else ()
                raise SpecError(
                    diagnose(
                        "E0204",
                        name.span,
                        module=target.source.module,
                        name=name.name,
                        helps=helps,
                        fixes=fixes,
                    )
                )
            self._bind(module, name, value)

    def _target(self, item: ast.Import, module: Module) -> Module:
        path, name = module_path(item, module.path, self.root)
        path = path.resolve()
        if path in self._open:
            cycle = [p.name for p in self._open[self._open.index(path) :]] + [path.name]
            raise SpecError(diagnose("E0207", item.span, cycle=" -> ".join(cycle)))
        if path in self.modules:
            return self.modules[path]
        if module.depth + 1 > limits.IMPORT_DEPTH or len(self.modules) >= limits.FILES:
            what = f"more than {limits.FILES} files, or {limits.IMPORT_DEPTH} levels of imports"
            raise SpecError(diagnose("E0208", item.span, path=name, why=what))
        if self._bytes > limits.TOTAL_BYTES:
            why = f"all files together exceed {limits.TOTAL_BYTES // 2**20} MiB"
            raise SpecError(diagnose("E0208", item.span, path=name, why=why))
        display = display_name(path) if item.path is None else _relative(path, self.root)
        return self.read(path, display, name, module.depth + 1)


@lru_cache(maxsize=64)
def _parsed_once(path: Path, name: str, module: str, text: str) -> tuple[Source, ParseResult]:
    """A file of the standard library, which most specs share. Parsed texts are immutable."""
    source = Source(name, text, module)
    return source, parse(source)


def _lose(item: ast.Import, module: Module) -> None:
    """What a failed import would have bound stays silent: the import was reported."""
    names = [name.name for name in item.names]
    if not names:
        names = [item.alias.name if item.alias else item.module[-1]]
    for name in names:
        module.names.setdefault(name, UNKNOWN)


def _relative(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
