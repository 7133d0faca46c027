"""A `.vit` file with everything that it imports: read, parsed, and its names resolved.

Takes: a path. Gives: a `Program` with all findings so far; a spec's mistakes never raise here.
Non-goals: shapes and sizes, which elaboration checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from posixpath import normpath

from linvit_dsl.check.files import (
    STANDARD_LIBRARY,
    module_name,
    module_path,
    project_root,
    specs_root,
)
from linvit_dsl.check.names import resolve_names
from linvit_dsl.check.values import UNKNOWN, BlockValue, ModuleValue, Static, Unknown
from linvit_dsl.errors import Diagnostic, Fix, Source, SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.graph import limits
from linvit_dsl.syntax import ParseResult, ast, parse, read_source
from linvit_dsl.syntax.reading import too_large

_LIBRARY = "std:"
"""Begins the names of library modules among stored texts; no file that is imported is called so."""


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
    already reported as unknown, so that elaboration stays silent about them; `cut_short` whether so
    much was wrong with one of the texts that it was not read to its end.
    """

    root: Module
    modules: dict[Path, Module]
    diagnostics: list[Diagnostic] = field(default_factory=list)
    flagged: set[tuple[str, int]] = field(default_factory=set)
    cut_short: bool = False

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
    root = reader.read(path.resolve(), display_name(path), module_name(path), 0, text)
    return _resolved(root, reader)


def open_texts(texts: Mapping[str, str]) -> Program:
    """The program of a spec whose texts lie nowhere on a disk, as `program_texts` gives them.

    Nothing but these texts is read: a file that they import and do not hold is an error (E0208).

    Args:
        texts: By name, the spec itself first.

    Raises:
        SpecError: E0702, the spec itself is too large.
        ValueError: There is no text.
    """
    if not texts:
        raise ValueError("a program has at least one text")
    reader = _StoredReader(texts)
    key = next(iter(texts))
    root = reader.read(Path(key), key, module_name(Path(key)), 0)
    return _resolved(root, reader)


def program_texts(program: Program) -> dict[str, str]:
    """All texts of a program, the spec itself first, under names that mean the same anywhere.

    `std:vit` is the module `std.vit`; other names are paths from the project's root.
    """
    root = project_root(program.root.path)
    return {_stored_name(path, root): m.source.text for path, m in program.modules.items()}


def has_library_of_today(texts: Mapping[str, str]) -> bool:
    """Whether library modules among stored texts that have intrinsic blocks are the installed ones.

    Only then do kernels compute what the texts say: they are known by the names of blocks.
    """
    for path in STANDARD_LIBRARY.glob("*.vit"):
        stored, installed = texts.get(f"{_LIBRARY}{path.stem}"), read_source(path).text
        if stored not in (None, installed) and "intrinsic" in f"{stored}{installed}":
            return False
    return True


def _stored_name(path: Path, root: Path) -> str:
    if path.parent == STANDARD_LIBRARY:
        return f"{_LIBRARY}{path.stem}"
    # Of a program that was opened from stored texts, paths are their names.
    return path.relative_to(root).as_posix() if path.is_absolute() else path.as_posix()


def _resolved(root: Module, reader: _Reader) -> Program:
    """The program of what was read, with every name resolved."""
    program = Program(root, reader.modules, reader.diagnostics, cut_short=reader.cut_short)
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
        self.cut_short = False
        self._open: list[Path] = []
        self._bytes = 0

    def read(
        self, path: Path, name: str, module_name: str, depth: int, text: str | None = None
    ) -> Module:
        if text is None:
            source = self._text(path, name, module_name)
        else:
            source = Source(name, text, module_name)
        self._bytes += len(source.text)
        if path.parent == STANDARD_LIBRARY:
            source, result = _parsed_once(path, name, module_name, source.text)
        else:
            result = parse(source)
        self.diagnostics += result.diagnostics
        self.cut_short |= len(result.diagnostics) >= limits.ERRORS
        module = Module(source, path, result.file, depth=depth)
        self.modules[path] = module
        self._open.append(path)
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
        path, name = self._find(item, module)
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
        return self.read(path, self._display(path, item), name, module.depth + 1)

    def _text(self, path: Path, name: str, module_name: str) -> Source:
        return read_source(path, name=name, module=module_name)

    def _find(self, item: ast.Import, importer: Module) -> tuple[Path, str]:
        path, name = module_path(item, importer.path, self.root)
        return path.resolve(), name

    def _display(self, path: Path, item: ast.Import) -> str:
        return display_name(path) if item.path is None else _relative(path, self.root)


class _StoredReader(_Reader):
    """Reads texts that came with a model file, and no others."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        super().__init__(Path())
        self._texts = texts

    def _text(self, path: Path, name: str, module_name: str) -> Source:
        text = self._texts[path.as_posix()]
        source = Source(name, text, module_name)
        if len(text.encode()) > limits.FILE_BYTES:
            raise SpecError(too_large(Source(name, "", module_name), len(text.encode())))
        return source

    def _find(self, item: ast.Import, importer: Module) -> tuple[Path, str]:
        if item.path is None:
            key, module = f"{_LIBRARY}{'.'.join(item.module[1:])}", ".".join(item.module)
            place, found = item.span, item.module[0] == "std" and key in self._texts
        else:
            key = normpath((importer.path.parent / item.path.value).as_posix())
            module, place, found = module_name(Path(key)), item.path.span, key in self._texts
        if not found:
            why = "the model file does not hold it"
            name = module if item.path is None else item.path.value
            raise SpecError(diagnose("E0208", place, path=name, why=why))
        return Path(key), module

    def _display(self, path: Path, item: ast.Import) -> str:
        return path.as_posix() if item.path is not None else f"std/{item.module[-1]}.vit"


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
