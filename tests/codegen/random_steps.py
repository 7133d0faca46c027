"""What a random spec may do to one tensor: text behind a `|>`, and the shape that comes out."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

from tests.codegen.random_sizes import Shape, Size, elements

Step = tuple[str, Shape]

LARGEST = 12_000
"""Elements of a tensor at most."""
LETTERS = "bhijkmpq"
POINTWISE = (
    *("gelu", 'gelu["tanh"]', "relu", "elu", "silu", "hardswish", "sigmoid", "tanh", "sin", "cos"),
    *("abs", "detach"),
)
INITS = ("zeros", "constant[0.5]", "normal[0.1]", "xavier", "trunc_normal[0.02]")


class Steps:
    """Draws steps. Each method gives one that fits the shape, or None if there is none.

    Args:
        chance: Draws.
        randomly: Whether dropout may occur.
        plain: Whether axes stay where they are.
    """

    def __init__(self, chance: random.Random, *, randomly: bool, plain: bool) -> None:
        self.chance = chance
        self.randomly, self.plain = randomly, plain
        self.numbers = count()

    def label(self) -> str:
        """A label, or none: then the part is named by its operator."""
        return f"@w{next(self.numbers)}" if self.chance.random() < 0.85 else ""

    def draw(self, shape: Shape) -> Step:
        """Some step; the identity in the rare case that nothing fits."""
        kinds: list[Callable[[Shape], Step | None]] = [
            *(self.linear,) * 4,
            *(self.pointwise,) * 3,
            *(self.norm,) * 2,
            self.softmax,
        ]
        if not self.plain:
            kinds += [self.conv] * 4 + [self.map_step, self.rearrange] * 3 + [self.reduce] * 2
            kinds += [self.transpose, self.slice, self.select, self.pad, self.expand, self.drop]
        self.chance.shuffle(kinds)
        for kind in kinds:
            found = kind(shape)
            if found and 0 < elements(found[1]) <= LARGEST and len(found[1]) <= 5:
                return found
        return "abs", shape

    def keeping(self, shape: Shape) -> str:
        """Some step that keeps the shape."""
        kinds = (self.pointwise, self.pointwise, self.norm, self.softmax, self.drop, self.same)
        found = None
        while found is None or found[1] != shape:
            found = self.chance.choice(kinds)(shape)
        return found[0]

    def axis(self, shape: Shape) -> int | None:
        """Some axis that is not the batch."""
        free = [index for index, size in enumerate(shape) if not size.is_batch]
        return self.chance.choice(free) if free else None

    def same(self, shape: Shape) -> Step | None:
        if not shape or shape[-1].is_batch:
            return self.pointwise(shape)
        return f"linear[{shape[-1]}{self.options()}]{self.label()}", shape

    def options(self) -> str:
        """Options of a linear map."""
        bias = self.chance.choice(("", "", ", bias = false"))
        init = self.chance.choice(INITS)
        return bias + (f", init = {init}" if self.chance.random() < 0.3 else "")

    def linear(self, shape: Shape) -> Step | None:
        if not shape or shape[-1].is_batch:
            return None
        last = shape[-1]
        out = self.chance.choice((last, last * Size.of(2), Size.of(self.chance.choice((6, 8, 12)))))
        if last.value % 2 == 0 and self.chance.random() < 0.3:
            out = last.over(2)
        if out.value > 96:
            out = last
        return f"linear[{out}{self.options()}]{self.label()}", (*shape[:-1], out)

    def pointwise(self, shape: Shape) -> Step | None:
        return self.chance.choice(POINTWISE), shape

    def norm(self, shape: Shape) -> Step | None:
        if not shape or shape[-1].is_batch:
            return None
        names = ["layernorm", "layernorm", "layernorm[eps = 1e-5]"]
        # torch composes it of other operators on a CPU, and keeps more than on a GPU.
        names += [] if self.plain else ["rmsnorm"]
        name = self.chance.choice(names)
        return f"{name}{self.label()}", shape

    def softmax(self, shape: Shape) -> Step | None:
        axis = self.axis(shape)
        return None if axis is None else (f"softmax[{self.signed(axis, shape)}]", shape)

    def signed(self, axis: int, shape: Shape) -> int:
        """The number of an axis, counted from either end."""
        return self.chance.choice((axis, axis - len(shape)))

    def drop(self, shape: Shape) -> Step | None:
        if not self.randomly:
            return None
        ways = ["dropout[0.1]", "dropout[p = 20%]"]
        if shape and shape[0] == Size.named("B", 0):
            ways.append("droppath[0.1]")
        return self.chance.choice(ways), shape

    def transpose(self, shape: Shape) -> Step | None:
        first, second = self.axis(shape), self.axis(shape)
        if first is None or second is None or first == second:
            return None
        out = list(shape)
        out[first], out[second] = out[second], out[first]
        return f"transpose[{self.signed(first, shape)}, {self.signed(second, shape)}]", tuple(out)

    def rearrange(self, shape: Shape) -> Step | None:
        """Split an axis, permute, join two neighbours: each perhaps."""
        if not 1 < len(shape) < 5:
            return None
        letters = iter(LETTERS)
        before: list[str] = []
        parts: list[tuple[str, Size]] = []
        sizes = ""
        for size in shape:
            split = [k for k in (2, 3, 4) if size.value % k == 0 and not size.is_batch]
            first = next(letters)
            if split and not sizes and self.chance.random() < 0.5:
                second, k = next(letters), self.chance.choice(split)
                outer = self.chance.random() < 0.5
                pieces = [(first, Size.of(k)), (second, size.over(k))]
                if not outer:
                    pieces.reverse()
                given = first
                parts += pieces
                before.append(f"({pieces[0][0]} {pieces[1][0]})")
                sizes = f", {given} = {k}"
            else:
                parts.append((first, size))
                before.append(first)
        front = parts[:1] if parts[0][1].is_batch and self.chance.random() < 0.8 else []
        rest = parts[len(front) :]
        self.chance.shuffle(rest)
        parts = front + rest
        out = [(letter, size) for letter, size in parts]
        if len(out) > 2 and (len(out) > 4 or self.chance.random() < 0.5):
            at = self.chance.randrange(len(front), len(out) - 1)
            (a, x), (b, y) = out[at : at + 2]
            out[at : at + 2] = [(f"({a} {b})", x * y)]
        after = " ".join(letter for letter, _ in out)
        pattern = f'rearrange["{" ".join(before)} -> {after}"{sizes}]'
        return pattern, tuple(size for _, size in out)

    def reduce(self, shape: Shape) -> Step | None:
        axis = self.axis(shape)
        if axis is None or len(shape) < 2:
            return None
        names = list(LETTERS[: len(shape)])
        how = self.chance.choice(("mean", "sum", "max"))
        kept = self.chance.random() < 0.5
        after = [*names[:axis], *(["1"] if kept else []), *names[axis + 1 :]]
        out = (*shape[:axis], *([Size.of(1)] if kept else []), *shape[axis + 1 :])
        return f'reduce["{" ".join(names)} -> {" ".join(after)}", {how}]', out

    def slice(self, shape: Shape) -> Step | None:
        axis = self.axis(shape)
        if axis is None or shape[axis].value < 4 or shape[axis].value % 2:
            return None
        half = shape[axis].over(2)
        start = self.chance.choice((0, 1, half))
        out = (*shape[:axis], half, *shape[axis + 1 :])
        return f"slice[{self.signed(axis, shape)}, {start}, {half}]", out

    def select(self, shape: Shape) -> Step | None:
        axis = self.axis(shape)
        if axis is None or len(shape) < 3:
            return None
        place = self.chance.choice((0, -1))
        return f"select[{axis}, {place}]", (*shape[:axis], *shape[axis + 1 :])

    def pad(self, shape: Shape) -> Step | None:
        axis = self.axis(shape)
        if axis is None or shape[axis].names:
            return None
        before, after = self.chance.randrange(3), self.chance.randrange(3)
        out = (*shape[:axis], Size.of(shape[axis].value + before + after), *shape[axis + 1 :])
        return f"pad[{self.signed(axis, shape)}, {before}, {after}]", out

    def expand(self, shape: Shape) -> Step | None:
        if not 0 < len(shape) < 4:
            return None
        names, k = list(LETTERS[: len(shape)]), self.chance.choice((2, 3))
        at = self.chance.randrange(1, len(shape) + 1)
        if self.chance.random() < 0.5:
            after = [*names[:at], "r", *names[at:]]
            out = (*shape[:at], Size.of(k), *shape[at:])
        else:  # each entry k times, as in nearest upsampling
            after = [*names]
            after[at - 1] = f"({names[at - 1]} r)"
            out = (*shape[: at - 1], shape[at - 1] * Size.of(k), *shape[at:])
        return f'expand["{" ".join(names)} -> {" ".join(after)}", r = {k}]', out

    def conv(self, shape: Shape) -> Step | None:
        """On maps of literal size."""
        if not is_map(shape):
            return None
        batch, channels, rows, columns = shape
        kernel, stride, dilation = (
            self.chance.choice(c) for c in ((1, 2, 3), (1, 1, 2), (1, 1, 2))
        )
        pad = self.chance.choice((0, kernel // 2))
        reach = dilation * (kernel - 1) + 1
        if min(rows.value, columns.value) + 2 * pad < reach:
            return None
        groups = self.chance.choice(
            [g for g in (1, 1, 2, channels.value) if channels.value % g == 0]
        )
        out = Size.of(groups * self.chance.choice((1, 2)) if groups > 2 else 8)
        size = [Size.of((x.value + 2 * pad - reach) // stride + 1) for x in (rows, columns)]
        options = "".join(
            f", {word} = {value}"
            for word, value, default in (
                ("kernel", kernel, 1),
                ("stride", stride, 1),
                ("pad", pad, 0),
                ("dilation", dilation, 1),
                ("groups", groups, 1),
            )
            if value != default
        )
        return f"conv2d[{out}{options}]{self.label()}", (batch, out, *size)

    def map_step(self, shape: Shape) -> Step | None:
        if not is_map(shape):
            return None
        batch, channels, rows, columns = shape
        match self.chance.randrange(4):
            case 0:
                return f"batchnorm{self.label()}", shape
            case 1:
                size = [Size.of(self.chance.randrange(2, 7)) for _ in "hw"]
                return f"interpolate[[{size[0]}, {size[1]}]]", (batch, channels, *size)
            case 2:
                size = [Size.of(self.chance.randrange(1, x.value + 1)) for x in (rows, columns)]
                return f"adaptive_pool[[{size[0]}, {size[1]}]]", (batch, channels, *size)
            case _:
                dilation = self.chance.choice(("", ", dilation = 2"))
                return f"unfold[3{dilation}]", (batch, channels, Size.of(9), rows * columns)


def is_map(shape: Shape) -> bool:
    """Whether it is `[B, c, h, w]` with numbers for all but the batch."""
    return len(shape) == 4 and str(shape[0]) == "B" and not any(size.names for size in shape[1:])
