"""The body of a random block: what is there by which name and shape, and how more is added."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Self

from tests.codegen.random_family import Family
from tests.codegen.random_sizes import Shape, elements, show
from tests.codegen.random_steps import LARGEST, LETTERS, Steps


class Body:
    """The statements of one block, or of a loop in one.

    Args:
        family: Of the file.
        steps: Writes steps; it is the same throughout a block, so that labels differ.
        tensors: What is there, by name.
        inside: How many loops and choices are around; there, no name changes its shape.
        numbers: Static numbers that expressions may use.
        fixed: Names of tensors that cannot be bound again.
    """

    def __init__(
        self,
        family: Family,
        steps: Steps,
        tensors: dict[str, Shape],
        inside: int = 0,
        numbers: tuple[str, ...] = ("2", "3"),
        fixed: frozenset[str] = frozenset(),
    ) -> None:
        self.family, self.steps, self.chance = family, steps, family.chance
        self.tensors, self.inside, self.numbers, self.fixed = tensors, inside, numbers, fixed
        self.lines: list[str] = []

    def write(self, count: int) -> None:
        kinds = self.kinds()
        for _ in range(count):
            while not self.chance.choice(kinds)():
                pass

    def kinds(self) -> list[Callable[[], bool]]:
        """What may be written; each says whether it could be."""
        raise NotImplementedError

    def pick(self, wanted: Callable[[Shape], bool] = lambda _: True) -> str | None:
        """The name of some tensor, rather a late one."""
        names = [name for name, shape in self.tensors.items() if wanted(shape)]
        if not names:
            return None
        return self.chance.choice(names[-4:] if self.chance.random() < 0.7 else names)

    def like(self, shape: Shape) -> str:
        """The name of a tensor of this shape."""
        return self.pick(lambda other: other == shape) or ""

    def fresh(self, prefix: str = "t") -> str:
        return f"{prefix}{next(self.steps.numbers)}"

    def bind(self, text: str, shape: Shape) -> bool:
        """Give a result a name: a new one, or one whose old value is no longer wanted."""
        if not 0 < elements(shape) <= LARGEST or len(shape) > 5:
            return False
        free = [name for name in self.tensors if name not in self.fixed]
        # What was bound and not read yet is rather kept: dead code is rare in what people write.
        free = [name for name in free if name in text or not self.unread(name)]
        same = [name for name in free if self.tensors[name] == shape]
        if same and (self.inside or self.chance.random() < 0.5) and self.chance.random() < 0.8:
            name = self.chance.choice(same)
        else:
            old = [name for name in free if name.startswith("t")]
            reused = old and not self.inside and self.chance.random() < 0.2
            name = self.chance.choice(old) if reused else self.fresh()
        checked = f": {show(shape)}" if self.chance.random() < 0.1 else ""
        self.lines.append(f"{name}{checked} = {text}")
        if not self.inside:
            self.tensors.pop(name, None)  # to become the latest
        self.tensors[name] = shape
        return True

    def unread(self, name: str) -> bool:
        """Whether the last line about a tensor gives it a value that nothing reads."""
        for line in reversed(self.lines):
            if re.search(rf"\b{name}\b", line):
                target, _, rest = line.partition(" = ")
                return bool(rest) and name in target and not re.search(rf"\b{name}\b", rest)
        return False

    def fold(self, name: str) -> None:
        """Let everything that nothing reads yet have a part in the tensor `name`."""
        shape = self.tensors[name]
        ones = " 1" * (len(shape) - 1)
        for other, own in [*self.tensors.items()]:
            alike = bool(own) and str(own[0]) == "B" and not any(s.is_batch for s in own[1:])
            if other != name and alike and self.unread(other):
                letters = " ".join(LETTERS[: len(own)])
                text = f'reduce["{letters} -> b{ones}", mean]({other})'
                self.lines.append(f"{name} = {name} + {text}")

    def inner(self, *numbers: str, more: dict[str, Shape] | None = None) -> Self:
        """A body within this one, which sees what is there."""
        more = more or {}
        seen, fixed = {**self.tensors, **more}, self.fixed | more.keys()
        numbers += self.numbers
        return type(self)(self.family, self.steps, seen, self.inside + 1, numbers, fixed)

    def enclose(self, head: str, body: Body, count: int) -> None:
        body.write(count)
        folded = [x for x in body.tensors if x not in body.fixed and self.plain(x)]
        if folded:
            body.fold(folded[0])
        self.lines += [f"{head} {{", *(f"  {line}" for line in body.lines), "}"]

    def plain(self, name: str) -> bool:
        """Whether a tensor from outside of a loop begins with the batch."""
        shape = self.tensors.get(name, ())
        return bool(shape) and str(shape[0]) == "B" and not any(s.is_batch for s in shape[1:])

    def factor(self) -> str:
        """A real number near 1, perhaps made of static ones."""
        number = self.chance.choice(self.numbers)
        return self.chance.choice(("0.5", "1.25", f"({number} / 4)", f"{number}^(-1/2)"))
