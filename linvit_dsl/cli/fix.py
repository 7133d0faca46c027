"""`linvit check --fix`: the fixes that are certain, written to the user's own files."""

from __future__ import annotations

import sys
from difflib import unified_diff
from pathlib import Path

from linvit_dsl.check import SpecNotFound, find_spec
from linvit_dsl.check.files import STANDARD_LIBRARY
from linvit_dsl.check.fixes import FixedSpec, fix_spec
from linvit_dsl.cli.failures import UsageProblem, writing
from linvit_dsl.errors import Diagnostic, LinvitError
from linvit_dsl.errors.render import NOTHING, Omitted
from linvit_dsl.syntax.reading import with_line_ends_of
from linvit_runtime.durable import replace_file


def fix(text: str, *, diff: bool) -> tuple[tuple[Diagnostic, ...], Omitted]:
    """Fix the spec that `text` names, or with `diff` print what that would change.

    Returns:
        What is left to be found in it then, and how much of that is not among it.

    Raises:
        UsageProblem: It is no file of the user's.
        WriteProblem: The file cannot be written; it is as it was.
    """
    path = _own_file(text)
    try:
        fixed = fix_spec(path)
    except LinvitError as error:
        return error.diagnostics, NOTHING
    if diff:
        before, after = (t.splitlines(keepends=True) for t in (fixed.before, fixed.after))
        sys.stdout.writelines(unified_diff(before, after, str(path), f"{path} (fixed)"))
    elif fixed.after != fixed.before:
        _write(path, fixed)
    return fixed.left, fixed.omitted


def _write(path: Path, fixed: FixedSpec) -> None:
    mode = path.stat().st_mode
    with writing(path):
        replace_file(path, with_line_ends_of(path.read_bytes(), fixed.after))
        path.chmod(mode)
    for diagnostic in fixed.done:
        titles = "; ".join(fix.title for fix in diagnostic.fixes)
        print(f"fixed {diagnostic.code}: {diagnostic.primary.span}: {titles}", file=sys.stderr)


def _own_file(text: str) -> Path:
    """The path that SPEC names; what comes with linvit, or lies behind a link, is not edited."""
    try:
        path, _ = find_spec(text)
    except SpecNotFound as problem:
        raise UsageProblem(str(problem)) from problem
    if path.is_symlink():
        raise UsageProblem(f"--fix does not write through a link: {path}")
    is_shipped = Path(text).suffix != ".vit" and "/" not in text and ".vit:" not in text
    if is_shipped or path.resolve().parent == STANDARD_LIBRARY:
        raise UsageProblem(f"`{text}` comes with linvit: copy {path}, and fix the copy")
    return path
