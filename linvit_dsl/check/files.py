"""Which file a name means: shipped specs, the standard library, and imports inside the project."""

from __future__ import annotations

import re
from pathlib import Path

from linvit_dsl.errors import SpecError, diagnose
from linvit_dsl.errors.suggest import nearest
from linvit_dsl.syntax import ast

PACKAGE = Path(__file__).resolve().parents[1]
STANDARD_LIBRARY = PACKAGE / "std"


class SpecNotFound(Exception):
    """No such spec (exit code 2): the message says what was tried."""


def specs_root() -> Path:
    """The folder of the shipped specs: in the package when installed, beside it in a checkout."""
    inside = PACKAGE / "specs"
    return inside if inside.is_dir() else PACKAGE.parent / "specs"


def shipped_specs() -> tuple[str, ...]:
    """Names of the shipped specs, sorted."""
    return tuple(sorted(path.stem for path in specs_root().glob("*.vit")))


def find_spec(text: str) -> tuple[Path, str | None]:
    """Split `FILE.vit[:Model]`, or the name of a shipped spec, into a path and a model's name.

    Raises:
        SpecNotFound: Neither a file nor a shipped spec.
    """
    path, model = _split(text)
    try:
        if Path(path).is_file():
            return Path(path), model
    except (OSError, ValueError) as error:
        raise SpecNotFound(f"no file can be called `{path[:64]}...`") from error
    if Path(path).suffix != ".vit" and "/" not in path:
        shipped = specs_root() / f"{path}.vit"
        if shipped.is_file():
            return shipped, model
        near = nearest(path, shipped_specs())
        hint = f"did you mean `{near}`?" if near else f"shipped: {', '.join(shipped_specs())}"
        raise SpecNotFound(f"no file and no shipped spec is called `{path}`; {hint}")
    raise SpecNotFound(f"no such file: {path}")


def _split(text: str) -> tuple[str, str | None]:
    """`a.vit:Model` -> both; the colon of a drive letter is not a separator."""
    path, colon, model = text.rpartition(":")
    if (
        colon
        and re.fullmatch(r"[^\W\d][\w']*", model)
        and (path.endswith(".vit") or "/" not in path)
    ):
        return path, model
    return text, None


def project_root(path: Path) -> Path:
    """The folder that imports may not leave.

    It is that of the nearest `pyproject.toml` above `path` with a `[tool.linvit]` table, or the
    file's own.
    """
    folder = path.resolve().parent
    for candidate in (folder, *folder.parents):
        marker = candidate / "pyproject.toml"
        if marker.is_file() and "[tool.linvit]" in marker.read_text(
            encoding="utf-8", errors="replace"
        ):
            return candidate
    return folder


def module_name(path: Path) -> str:
    """The module of a file outside the library.

    Names of library modules have a dot, and kernels know library blocks by them: a file called
    `std.linear_attention.vit` must not pass for one.
    """
    return path.stem.replace(".", "_")


def module_path(item: ast.Import, importer: Path, root: Path) -> tuple[Path, str]:
    """The file that an import means, and its module name.

    Raises:
        SpecError: E0208, it does not exist, lies outside the project, or is a link.
    """
    if item.path is not None:
        return _file_import(item.path, importer, root)
    name = ".".join(item.module)
    if item.module[0] == "std" and len(item.module) == 2:
        path = STANDARD_LIBRARY / f"{item.module[1]}.vit"
        if path.is_file():
            return path, name
    known = [f"std.{path.stem}" for path in sorted(STANDARD_LIBRARY.glob("*.vit"))]
    near = nearest(name, known)
    help_ = f"did you mean `{near}`?" if near else f"the library has {', '.join(known)}"
    raise SpecError(diagnose("E0208", item.span, path=name, why="no such module", helps=(help_,)))


def _file_import(text: ast.Text, importer: Path, root: Path) -> tuple[Path, str]:
    def refuse(why: str) -> SpecError:
        return SpecError(diagnose("E0208", text.span, path=text.value, why=why))

    relative = Path(text.value)
    parts = [part for part in relative.parts if part != "."]
    if relative.is_absolute() or "\\" in text.value or relative.suffix != ".vit":
        raise refuse("an import is a relative path that ends in `.vit`")
    target = importer.resolve().parent.joinpath(*parts)
    try:
        if not target.resolve().is_relative_to(root):
            raise refuse("it lies outside the project")
        if target.is_symlink() or target.resolve() != Path(_normal(target)):
            raise refuse("links are not followed")
        if not target.is_file():
            raise refuse("no such file")
        return target.resolve(), module_name(target)
    except (OSError, ValueError, RuntimeError):
        # A name too long for the disk, a character that no name can have, a circle of links.
        raise refuse("no file can have this name") from None


def _normal(path: Path) -> str:
    """The path with `..` taken out, links not followed."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return str(Path(*parts))


def library_module_of(name: str) -> str | None:
    """The standard-library module that declares block `name`, for the help of E0203."""
    pattern = re.compile(
        rf"^(?:intrinsic |float32 )?(?:block|model) {re.escape(name)}\b", re.MULTILINE
    )
    for path in sorted(STANDARD_LIBRARY.glob("*.vit")):
        if pattern.search(path.read_text(encoding="utf-8")):
            return f"std.{path.stem}"
    return None
