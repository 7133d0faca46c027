"""The statements of random specs, written so that they fit the shapes that are there."""

from __future__ import annotations

from collections.abc import Callable

from tests.codegen.random_bodies import Body
from tests.codegen.random_family import MIXERS, PLAIN
from tests.codegen.random_sizes import Size, elements, show
from tests.codegen.random_steps import LETTERS


class Statements(Body):
    """A body that knows what to write. Each statement says whether it could be written."""

    def kinds(self) -> list[Callable[[], bool]]:
        """What may be written, the common as often as it is common."""
        kinds: list[Callable[[], bool]] = [
            *(self.chain,) * 6,
            *(self.residual,) * 4,
            *(self.binary,) * 4,
            *(self.learned,) * 3,
            *(self.apply_block,) * 5,
            *(self.shared, self.shared, self.swap, self.named),
        ]
        if not self.family.plain:
            kinds += [self.product, self.mixer] * 4 + [self.listed] * 3
            kinds += [self.attend, self.joined, self.parts] * 2 + [self.constant]
        if self.inside < 2:
            kinds += [self.loop] * 5 + [self.choice] * 3
        return kinds

    def chain(self) -> bool:
        name = self.pick()
        assert name is not None
        text, shape = name, self.tensors[name]
        for _ in range(self.chance.randrange(1, 4)):
            step, shape = self.steps.draw(shape)
            text += f" |> {step}"
        return self.bind(text, shape)

    def residual(self) -> bool:
        name = self.pick()
        assert name is not None
        if name in self.fixed:
            return False
        shape = self.tensors[name]
        steps = " |> ".join(self.steps.keeping(shape) for _ in range(self.chance.randrange(1, 3)))
        self.lines.append(f"{name} += {self.like(shape)} |> {steps}")
        return True

    def binary(self) -> bool:
        name = self.pick()
        assert name is not None
        shape = self.tensors[name]
        other = self.like(shape)
        axis = self.steps.axis(shape)
        if axis is not None and len(shape) < 5 and self.chance.random() < 0.4:
            names = " ".join(LETTERS[: len(shape)])
            kept = " ".join("1" if at == axis else x for at, x in enumerate(names.split()))
            other = f'reduce["{names} -> {kept}", mean]({other})'
        forms = (
            f"{name} + {other}",
            f"{name} - {self.factor()} * {other}",
            f"{name} * sigmoid({other})",
            f"tanh({name} * {other})",
            f"{name} / (abs({other}) + 1)",
            f"-{name} + {other}",
            f"tanh({name})^2 + {other}",
            f"(abs({name}) + 1)^(1/2) * {self.factor()}",
            f"exp(-abs({name})) + {other}",
        )
        return self.bind(self.chance.choice(forms), shape)

    def product(self) -> bool:
        """An `einsum` of one tensor or two; axes of one size may be multiplied."""
        first, second = self.pick(), self.pick()
        assert first is not None
        assert second is not None
        a, b = self.tensors[first], self.tensors[second]
        if not (a and b) or self.chance.random() < 0.3:
            return self.matmul(first)
        letters = iter("bcdehijklmnopqrstuvwxyz")
        left = [(next(letters), size) for size in a]
        right: list[tuple[str, Size]] = []
        for size in b:
            known = [x for x, other in left if other == size and x not in dict(right)]
            shared = bool(known) and (size.is_batch or self.chance.random() < 0.7)
            right.append((self.chance.choice(known) if shared else next(letters), size))
        everything = {**dict(left), **dict(right)}
        out = [x for x, size in everything.items() if size.is_batch]
        rest = [x for x in everything if x not in out]
        self.chance.shuffle(rest)
        out += rest[: self.chance.randrange(1, 4)]
        if elements(tuple(everything.values())) > 400_000:
            return False
        shape = tuple(everything[x] for x in out)
        sides = (" ".join(x for x, _ in side) for side in (left, right))
        pattern = f"{', '.join(sides)} -> {' '.join(out)}"
        return self.bind(f'tanh(einsum["{pattern}"]({first}, {second}) / 4)', shape)

    def matmul(self, name: str) -> bool:
        shape = self.tensors[name]
        if len(shape) < 2 or shape[-1].is_batch or shape[-2].is_batch:
            return False
        other = self.like(shape)
        scores = f"matmul({name}, transpose[-1, -2]({other})) / {shape[-1].value}"
        if self.chance.random() < 0.5:
            return self.bind(f"softmax[-1]({scores})", (*shape[:-1], shape[-2]))
        return self.bind(f"matmul(softmax[-1]({scores}), {other})", shape)

    def attend(self) -> bool:
        name = self.pick(lambda s: len(s) > 1 and not s[-1].is_batch and not s[-2].is_batch)
        if name is None:
            return False
        shape = self.tensors[name]
        *_, rows, width = shape
        q, k = (f"linear[{width}]{self.steps.label()}({self.like(shape)})" for _ in "qk")
        extra = ""
        match self.chance.randrange(4):
            case 0:
                scale = self.chance.choice(("", "[scale = 0.5]", f"[scale = {self.factor()}]"))
            case 1 if not rows.names and rows.value > 1:
                seen = max(1, rows.value - 2)
                keep = f"ones[[{rows}, {seen}]]() |> pad[1, 0, {rows.value - seen}]"
                scale, extra = "", f", keep = {keep}"
            case 2:
                table = self.fresh("table")
                self.lines.append(f"param {table}: {show((rows, rows))} ~ normal[0.5]")
                scale, extra = "", f", bias = {table}"
            case _:
                scale = ""
        return self.bind(f"attend{scale}({q}, {k}, {self.like(shape)}{extra})", shape)

    def learned(self) -> bool:
        """A `param` or a `buffer` that stretches to a tensor."""
        name = self.pick(lambda s: bool(s) and not s[-1].is_batch)
        if name is None:
            return False
        shape = self.tensors[name]
        taken = self.chance.randrange(1, len(shape) + 1)
        own = tuple(Size.of(1) if size.is_batch else size for size in shape[-taken:])
        words = ("param", "param", "param" if self.family.plain else "buffer")
        word, table = self.chance.choice(words), self.fresh("p")
        init = self.chance.choice((" ~ normal[0.5]", " ~ constant[1]", " ~ zeros", ""))
        self.lines.append(f"{word} {table}: {show(own)}{init}")
        sign = self.chance.choice(("+", "-", "*"))
        return self.bind(f"{name} {sign} {table}", shape)

    def joined(self) -> bool:
        name = self.pick(lambda s: bool(s) and len(s) < 5)
        assert name is not None
        shape = self.tensors[name]
        many = [name, *(self.like(shape) for _ in range(self.chance.randrange(1, 3)))]
        axis = self.steps.axis(shape)
        if axis is None:
            return False
        if self.chance.random() < 0.5:
            place = self.chance.randrange(1, len(shape) + 1)
            out = (*shape[:place], Size.of(len(many)), *shape[place:])
            return self.bind(f"stack[{place}]({', '.join(many)})", out)
        whole = shape[axis] * Size.of(len(many))
        signed = self.steps.signed(axis, shape)
        text = f"concat[{signed}]({', '.join(many)})"
        return self.bind(text, (*shape[:axis], whole, *shape[axis + 1 :]))

    def parts(self) -> bool:
        name = self.pick(lambda s: bool(s) and not s[-1].names and s[-1].value > 2)
        if name is None:
            return False
        *front, last = self.tensors[name]
        at = self.chance.randrange(1, last.value)
        sizes = (at, last.value - at)
        shapes = [(*front, Size.of(size)) for size in sizes]
        names = [self.fresh(), self.fresh()]
        if self.chance.random() < 0.5:
            self.lines.append(f"({', '.join(names)}) = {name} |> split[-1, {list(sizes)}]")
        else:
            self.lines.append(f"{names[0]}s = split[-1, {list(sizes)}]({name})")
            self.lines += [f"{x} = {names[0]}s[{at}]" for at, x in enumerate(names)]
        self.tensors.update(zip(names, shapes, strict=True))
        return True

    def apply_block(self) -> bool:
        name = self.pick(self.family.holds)
        if name is None or not self.family.blocks:
            return False
        made = self.chance.choice(self.family.blocks)
        shape = self.tensors[name]
        arguments = [name, *(self.like(shape) for _ in range(made.inputs - 1))]
        given = [s for s in made.statics if self.chance.random() < 0.5]
        target = made.name + (f"[{', '.join(given)}]" if given else "") + self.steps.label()
        by_name = {"n": shape[1], "d": shape[2]}
        outputs = [
            tuple(
                Size(s.factor, (), int(s.factor)) * by_name[s.names[0]]
                if s.names and s.names != ("B",)
                else s
                for s in out
            )
            for out in made.outputs
        ]
        if len(outputs) > 1:
            names = [self.fresh() for _ in outputs]
            self.lines.append(f"({', '.join(names)}) = {target}({', '.join(arguments)})")
            self.tensors.update(zip(names, outputs, strict=True))
            return True
        if made.inputs == 1 and self.chance.random() < 0.6:
            return self.bind(f"{name} |> {target}", outputs[0])
        return self.bind(f"{target}({', '.join(arguments)})", outputs[0])

    def mixer(self) -> bool:
        """A mechanism of the library; those that need the grid only where it is a number."""
        name = self.pick(self.family.holds)
        if name is None:
            return False
        shape = self.tensors[name]
        rows, columns = self.family.grid
        literal = not shape[1].names and shape[1].value == self.family.n
        module, block, statics = self.chance.choice(MIXERS if literal else MIXERS[:PLAIN])
        words = statics.format(
            heads=self.chance.choice((2, 4)),
            grid=f"grid = [{rows}, {columns}]",
            odd=self.chance.choice((1, 3)),
        )
        self.family.imports.add((module, block))
        text = f"{block}[{words}]" if words else block
        if self.chance.random() < 0.25:
            self.family.imports.add(("nn", "EncoderLayer"))
            text = f"EncoderLayer[{text}, 2]"
        return self.bind(f"{name} |> {text}{self.steps.label()}", shape)

    def listed(self) -> bool:
        """A list of tensors of one shape: made by a comprehension, taken apart by a loop."""
        name = self.pick(lambda s: bool(s) and len(s) < 5)
        assert name is not None
        shape, xs, y = self.tensors[name], self.fresh("xs"), self.fresh("y")
        self.lines.append(f"{xs} = [{name}, {self.like(shape)}]")
        if self.chance.random() < 0.5:
            self.lines.append(f"{xs} += [{self.like(shape)} |> {self.steps.keeping(shape)}]")
        source = self.chance.choice((xs, f"reverse({xs})", f"[{xs}[0], {xs}[-1]]"))
        match self.chance.randrange(4):
            case 0:
                zs, step = self.fresh("zs"), self.steps.keeping(shape)
                self.lines.append(f"{zs} = [{y} |> {step} for {y} in {source}]")
                return self.bind(f"{zs}[0] + {zs}[-1]", shape)
            case 1:
                self.enclose(f"for {y} in {source}", self.inner(more={y: shape}), 2)
            case 2:
                i = self.fresh("i")
                body = self.inner(f"({i} + 1)", more={y: shape})
                self.enclose(f"for ({i}, {y}) in enumerate({source})", body, 2)
            case _:
                how = self.chance.choice(("sum", "mean", "max"))
                text = f"stack[0](*[{self.factor()} * {y} for {y} in {source}])"
                return self.bind(f'{text} |> reduce["k ... -> ...", {how}]', shape)
        return True

    def shared(self) -> bool:
        """A `layer`, applied twice."""
        name = self.pick(lambda s: bool(s) and not s[-1].is_batch)
        if name is None:
            return False
        shape, layer = self.tensors[name], self.fresh("f")
        kind = self.chance.choice((f"linear[{shape[-1]}]", "layernorm", "gelu"))
        self.lines.append(f"layer {layer} = {kind}")
        return self.bind(f"{layer}({name}) + {layer}(tanh({self.like(shape)}))", shape)

    def constant(self) -> bool:
        name = self.pick(lambda s: bool(s) and not s[-1].names)
        if name is None:
            return False
        shape = self.tensors[name]
        last = shape[-1]
        forms = [f"{name} + iota[{last}]() / {last}", f"{name} - ones[[1, {last}]]()"]
        if len(shape) > 1:
            forms.append(f"matmul({name}, eye[{last}]())")
        return self.bind(self.chance.choice(forms[: 2 if len(shape) < 2 else 3]), shape)

    def swap(self) -> bool:
        name = self.pick()
        assert name is not None
        other = self.like(self.tensors[name])
        if name == other or self.fixed & {name, other}:
            return False
        self.lines.append(f"({name}, {other}) = ({other}, {name})")
        return True

    def named(self) -> bool:
        """A static that is bound, and used."""
        name, static = self.pick(), self.fresh("s")
        assert name is not None
        number = self.chance.choice(self.numbers)
        value = self.chance.choice(
            (f"{number} / 8", f"if {number} > 2 then 0.5 else 1.5", f"min({number}, 4) // 2 + 1")
        )
        self.lines.append(f"{static} = {value}")
        return self.bind(f"{static} * {name}", self.tensors[name])

    def loop(self) -> bool:
        times = self.chance.choice((2, 2, 3, 4))
        if self.chance.random() < 0.3:
            shared = self.chance.choice(("", " shared"))
            self.enclose(f"repeat {times}{shared}", self.inner(), self.chance.randrange(1, 4))
            return True
        i = self.fresh("i")
        body = self.inner(i)
        if self.chance.random() < 0.5:
            condition = self.chance.choice((f"{i} < {times}", f"{i} % 2 == 0", f"{i} == 1"))
            extra = body.inner()
            body.enclose(f"if {condition}", extra, 1)
        self.enclose(f"repeat {times} as {i}", body, self.chance.randrange(1, 4))
        return True

    def choice(self) -> bool:
        number = self.chance.choice(self.numbers)
        condition = self.chance.choice(
            (f"{number} > 2", f"{number} in [1, 3]", f"not {number} == 2")
        )
        first, second = self.inner(), self.inner()
        self.enclose(f"if {condition}", first, self.chance.randrange(1, 3))
        if self.chance.random() < 0.6:
            second.write(1)
            self.lines[-1] = "} else {"
            self.lines += [*(f"  {line}" for line in second.lines), "}"]
        return True
