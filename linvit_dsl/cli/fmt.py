"""`linvit fmt`: files in the one layout that there is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING

from linvit_dsl.cli.failures import REJECTED, UsageProblem, writing

if TYPE_CHECKING:
    from linvit_dsl.errors import Diagnostic, Source

STANDARD_INPUT = "-"

EXAMPLES = """\
examples:
  linvit fmt my.vit            write my.vit in the layout of the language
  linvit fmt .                 all .vit files in this folder and below
  linvit fmt --check specs/    write nothing; exit code 1 if a file would change
  linvit fmt --diff my.vit     show what would change
  linvit fmt - < a.vit > b.vit

A file with syntax errors is left as it is, and they are printed. A file is only
written if the formatted text says the same, with the same comments.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help=".vit files, folders, or - for standard input"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; say what would change, with code 1"
    )
    parser.add_argument(
        "--diff", action="store_true", help="write nothing; print the changes as a diff"
    )
    parser.set_defaults(handler=run)


@dataclass(frozen=True, slots=True)
class _Formatted:
    """A text before and after; `errors` are those of a text that stays as it is."""

    name: str
    before: bytes
    after: bytes
    errors: tuple[Diagnostic, ...] = ()

    @property
    def changed(self) -> bool:
        return self.after != self.before


def run(options: argparse.Namespace) -> int:
    """Format the files, or say which of them are not formatted."""
    if STANDARD_INPUT in options.files:
        if len(options.files) > 1:
            raise UsageProblem("- is standard input alone; it takes no files beside it")
        done = [_standard_input(options)]
    else:
        paths = list(dict.fromkeys(path for word in options.files for path in _files(word)))
        done = [_file(path, options) for path in paths]
    failed = any(one.errors for one in done)
    changed = any(one.changed for one in done)
    return REJECTED if failed or (options.check and changed) else 0


def _standard_input(options: argparse.Namespace) -> _Formatted:
    from linvit_dsl.syntax.reading import source_of

    data = sys.stdin.buffer.read()
    found = _formatted("<stdin>", data, lambda: source_of(data, "<stdin>"))
    if options.diff or options.check:
        _tell(found, options)
    elif not found.errors:
        # Bytes, so that the line ends of the text are kept on every system.
        sys.stdout.flush()
        sys.stdout.buffer.write(found.after)
    return found


def _file(path: Path, options: argparse.Namespace) -> _Formatted:
    from linvit_dsl.syntax.reading import read_source

    try:
        found = _formatted(str(path), path.read_bytes(), lambda: read_source(path))
    except OSError as error:
        raise UsageProblem(f"cannot read {path}: {error.strerror}") from error
    if options.diff or options.check:
        _tell(found, options)
    elif found.changed:
        _write(path, found.after)
        print(f"formatted {path}")
    return found


def _tell(found: _Formatted, options: argparse.Namespace) -> None:
    """Print what would change."""
    if not found.changed:
        return
    if options.diff:
        before, after = (
            text.decode("utf-8-sig").replace("\r\n", "\n").splitlines(keepends=True)
            for text in (found.before, found.after)
        )
        sys.stdout.writelines(unified_diff(before, after, found.name, f"{found.name} (formatted)"))
    if options.check:
        print(f"would format {found.name}")


def _formatted(name: str, before: bytes, read: Callable[[], Source]) -> _Formatted:
    """A text before and after; what is wrong with it goes to standard error."""
    from linvit_dsl.cli.output import show
    from linvit_dsl.errors import SpecError
    from linvit_dsl.syntax.format import format_source
    from linvit_dsl.syntax.reading import with_line_ends_of

    try:
        text = format_source(read())
    except SpecError as error:
        show(error.diagnostics, stream=sys.stderr)
        return _Formatted(name, before, before, error.diagnostics)
    return _Formatted(name, before, with_line_ends_of(before, text))


def _write(path: Path, text: bytes) -> None:
    from linvit_runtime.durable import replace_file

    mode = path.stat().st_mode
    with writing(path):
        replace_file(path, text)
        path.chmod(mode)


def _files(word: str) -> Iterator[Path]:
    """The files that a word of the command line means.

    Raises:
        UsageProblem: None.
    """
    from linvit_dsl.check.files import shipped_specs

    path = Path(word)
    if path.is_symlink():
        raise UsageProblem(f"fmt does not write through a link: {path}")
    if path.is_dir():
        found = sorted(path.rglob("*.vit"))
        visible = [
            file
            for file in found
            if not file.is_symlink()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        if not visible:
            raise UsageProblem(f"no .vit files in {path} and below")
        yield from visible
    elif path.is_file():
        yield path
    elif word in shipped_specs():
        raise UsageProblem(f"`{word}` comes with linvit; fmt takes your own files and folders")
    else:
        raise UsageProblem(f"no such file: {word}")
