"""What a `.vit` file says about its own diagnostics, in comments.

    dim c = d / heads   #~ E0301 "7 heads"
    return x, y
    #~^ E0403
    model M = ...       #~ std/nn.vit E0301 "7 heads"

`#~` speaks of its own line, each `^` moves it one line up. A file name stands for any line of that
file. The text in quotes is part of the message. Several annotations may share a line.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from linvit_dsl.errors import Diagnostic
from linvit_dsl.errors.render import concise

_ANNOTATION = re.compile(r"""#~(\^*) (?:(\S+\.vit) )?([EW]\d{4})(?: "([^"]*)")?\s*(?=#~|$)""")


@dataclass(frozen=True, slots=True)
class Annotation:
    """A diagnostic that a file expects; `line` is that of the annotated file."""

    file: str
    line: int
    code: str
    words: str
    elsewhere: bool

    def matches(self, found: Diagnostic) -> bool:
        """Whether it speaks of this diagnostic."""
        span = found.primary.span
        return (
            self.code == found.code
            and self.file == span.source.name
            and (self.elsewhere or self.line == span.line)
            and self.words in found.message
        )

    def __str__(self) -> str:
        place = self.file if self.elsewhere else f"{self.file}:{self.line}"
        return f'{place}: {self.code} "{self.words}"'


def annotations(name: str, text: str) -> list[Annotation]:
    """All annotations of a file.

    Raises:
        ValueError: A comment begins with `#~` and is no annotation.
    """
    found: list[Annotation] = []
    for number, line in enumerate(text.splitlines(), 1):
        matches = list(_ANNOTATION.finditer(line))
        if len(matches) != line.count("#~"):
            raise ValueError(f"{name}:{number}: not an annotation: {line.strip()}")
        for match in matches:
            up, file, code, words = match.groups()
            place = number - len(up)
            found.append(Annotation(file or name, place, code, words or "", file is not None))
    return found


def differences(expected: Iterable[Annotation], found: Iterable[Diagnostic]) -> list[str]:
    """What was found and not annotated, and what was annotated and not found."""
    left = list(expected)
    unexpected: list[str] = []
    for diagnostic in found:
        match = next((annotation for annotation in left if annotation.matches(diagnostic)), None)
        if match is None:
            unexpected.append(f"not annotated: {concise(diagnostic)}")
        else:
            left.remove(match)
    return unexpected + [f"not found: {annotation}" for annotation in left]
