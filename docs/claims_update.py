"""Write the tables of `claims.md`: what the sources report, beside what linvit counts.

Every `claim` of a shipped spec is a row, with the true number and the command that prints it.
`claims.toml` adds what a claim cannot say: differences between two models, the reasons of a
verdict, and the figures that nobody has measured here. Run this file after changing either;
`tests/test_docs.py` fails while the page is out of date.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter

from linvit_dsl import expectations, load
from linvit_dsl.check import Expectation, shipped_specs
from linvit_dsl.graph.cost import Cost

HERE = Path(__file__).resolve().parent
PAGE = HERE / "claims.md"
MARKER = "<!-- written by claims_update.py from here on -->\n"

Verdict = Literal[
    "right", "wrong", "impossible", "unit confusion", "not reproduced", "not measured"
]
QUANTITIES = {
    "params": "parameters",
    "macs": "MACs",
    "flops": "FLOPs",
    "activation_bytes": "bytes kept for backward",
    "training_bytes": "bytes in training",
}


class _Record(BaseModel):
    """A table of the file: unknown and misspelt keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Count(_Record):
    """A number that linvit counts: a cost of one model, or how far it is from that of another.

    Args:
        of: `spec` or `spec:Model`.
        set: Static parameters that differ.
        minus: A model whose cost is subtracted.
        relative: Give the difference as a share of the second cost.
        parts: Only rows of the tree whose path matches; they must not lie in each other.
        quantity: One of `QUANTITIES`.
        batch: Images at once.
    """

    of: str
    set: Mapping[str, int] = {}
    minus: str = ""
    relative: bool = False
    parts: str = ""
    quantity: str = "params"
    batch: int = 1

    def value(self) -> float:
        """The number, exact unless it is a share."""
        cost = cost_of(self.of, tuple(self.set.items()), self.batch)
        if self.parts:
            rows = [row for row in cost.walk() if re.fullmatch(self.parts, row.path)]
            assert rows, f"no part of {self.of} is called {self.parts}"
            return sum(getattr(row, self.quantity) for row in rows)
        if not self.minus:
            return getattr(cost, self.quantity)
        other = getattr(cost_of(self.minus, (), self.batch), self.quantity)
        difference = getattr(cost, self.quantity) - other
        return difference / other if self.relative else difference

    def command(self) -> str:
        """The command that prints it."""
        verb = f"linvit diff {self.minus} {self.of}" if self.minus else f"linvit cost {self.of}"
        words = [f"{name}={value}" for name, value in self.set.items()]
        given = f" --set {' '.join(words)}" if words else ""
        return f"`{verb}{given}{f' --batch {self.batch}' if self.batch > 1 else ''}`"


class Counted(Count):
    """A figure that is not the cost of one model; right if ours lies between `low` and `high`."""

    source: str
    figure: str
    claimed: str
    low: float
    high: float
    verdict: Verdict | None = None
    why: str = ""


class Read(_Record):
    """A figure that the source itself, or the definition of what it is about, decides."""

    source: str
    figure: str
    claimed: str
    ours: str
    by: str = ""
    verdict: Verdict
    why: str = ""


class Unmeasured(_Record):
    """A figure that needs a training or a machine: nobody has measured it here."""

    source: str
    figure: str
    claimed: str
    by: str = ""
    why: str = ""


class Remark(_Record):
    """What the verdict on a `claim` is, wrong unless given where it does not hold, and why."""

    claim: str
    verdict: Verdict | None = None
    why: str = ""


class Ledger(_Record):
    """`claims.toml`. Counts in `number` may be named in a `why`: `{name:.2f}`."""

    sources: tuple[str, ...]
    number: Mapping[str, Count]
    remark: tuple[Remark, ...]
    counted: tuple[Counted, ...]
    read: tuple[Read, ...]
    unmeasured: tuple[Unmeasured, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the page; `source` is a document, then what of it: `QAViT README, models`."""

    source: str
    figure: str
    claimed: str
    ours: str
    by: str
    verdict: Verdict
    why: str = ""


def read_ledger() -> Ledger:
    """`claims.toml`, validated."""
    text = (HERE / "claims.toml").read_text(encoding="utf-8")
    return TypeAdapter(Ledger).validate_python(tomllib.loads(text))


@cache
def cost_of(name: str, overrides: tuple[tuple[str, int], ...], batch: int) -> Cost:
    """The cost of `spec` or `spec:Model`."""
    spec_name, _, model = name.partition(":")
    spec = load(spec_name)
    return getattr(spec, model or spec.models[0]).cost(batch, **dict(overrides))


def rows(ledger: Ledger) -> Iterator[Row]:
    """All rows, in any order.

    Raises:
        ValueError: A remark is about no claim, or contradicts what was counted.
    """
    remarks = {remark.claim: remark for remark in ledger.remark}
    for spec in shipped_specs():
        for stated in expectations(spec):
            if not stated.binding:
                yield claim_row(spec, stated, remarks.pop(claim_key(stated), None))
    if remarks:
        raise ValueError(f"no such claim: {', '.join(remarks)}")
    for counted in ledger.counted:
        yield counted_row(counted)
    for read in ledger.read:
        yield Row(**read.model_dump())
    for figure in ledger.unmeasured:
        yield Row(**figure.model_dump(), ours="—", verdict="not measured")


def claim_key(stated: Expectation) -> str:
    """How a remark names a claim."""
    return f"{stated.model}: {stated.quantity}, {stated.source}"


def claim_row(spec: str, stated: Expectation, remark: Remark | None) -> Row:
    """The row of a `claim`, right if it holds."""
    written = re.search(r"(?:[=<>]=|<|>)\s*([\d_.]+)([A-Z]?)", stated.span.text)
    assert written, stated.span.text
    digits = written[1].replace("_", ",")
    batch = f", batch {stated.batch}" if stated.batch > 1 else ""
    return Row(
        source=stated.source,
        figure=f"`{stated.model}`: {QUANTITIES[stated.quantity]}{batch}",
        claimed=f"{digits} {written[2]}".strip(),
        ours=f"{stated.actual:,} ({_share(stated.relative or 0)})",
        by=claim_command(spec, stated),
        verdict=judged(claim_key(stated), remark and remark.verdict, holds=stated.holds),
        why=remark.why if remark else "",
    )


def claim_command(spec: str, stated: Expectation) -> str:
    """What prints the costs of the model of a claim."""
    model, _, statics = stated.model.rstrip("]").partition("[")
    name = spec if model == load(spec).models[0] else f"{spec}:{model}"
    words = statics.replace(" = ", "=").replace(",", "")
    batch = f" --batch {stated.batch}" if stated.batch > 1 else ""
    return f"`linvit cost {name}{f' --set {words}' if words else ''}{batch}`"


def counted_row(counted: Counted) -> Row:
    """The row of a difference or a share."""
    value = counted.value()
    holds = counted.low <= value <= counted.high
    return Row(
        source=counted.source,
        figure=counted.figure,
        claimed=counted.claimed,
        ours=_share(value) if counted.relative else _signed(f"{value:+,}"),
        by=counted.command(),
        verdict=judged(counted.figure, counted.verdict, holds=holds),
        why=counted.why,
    )


def judged(what: str, verdict: Verdict | None, *, holds: bool) -> Verdict:
    """The verdict on something that was counted.

    Raises:
        ValueError: The file says another one than the count.
    """
    if holds:
        if verdict not in (None, "right"):
            raise ValueError(f"{what}: right, not {verdict}")
        return "right"
    if verdict in ("right", "not measured"):
        raise ValueError(f"{what}: not {verdict}")
    return verdict or "wrong"


def page_tables() -> str:
    """The generated part of the page."""
    ledger = read_ledger()
    numbers = {name: count.value() for name, count in ledger.number.items()}
    found = [replace(row, why=row.why.format(**numbers)) for row in rows(ledger)]
    known = {row.source for row in found}
    if known != set(ledger.sources):
        raise ValueError(f"sources without a place, or without rows: {known ^ set(ledger.sources)}")
    return "\n".join([*_summary(found), *_sections(ledger.sources, found)]) + "\n"


def _summary(found: Iterable[Row]) -> Iterator[str]:
    verdicts = [row.verdict for row in found]
    cells = ((verdict, str(verdicts.count(verdict))) for verdict in get_args(Verdict))
    yield ""
    yield from _table(("verdict", "rows"), cells)


def _sections(sources: Iterable[str], found: list[Row]) -> Iterator[str]:
    document = ""
    for source in sources:
        title, _, part = source.partition(", ")
        if title != document:
            document = title
            yield from ("", f"## {title}")
        yield from ("", f"### {part[0].upper()}{part[1:]}", "")
        cells = (
            (row.figure, row.claimed, row.ours, row.by or "—", _verdict(row))
            for row in found
            if row.source == source
        )
        yield from _table(("figure", "claimed", "ours", "printed by", "verdict"), cells)


def _share(value: float) -> str:
    return _signed(f"{100 * value:+.1f} %")


def _signed(number: str) -> str:
    return number.replace("-", "−")


def _verdict(row: Row) -> str:
    return f"**{row.verdict}**" + (f": {row.why}" if row.why else "")


def _table(titles: tuple[str, ...], cells: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for line in (titles, ("---",) * len(titles), *cells):
        yield f"| {' | '.join(line)} |"


def updated(page: str) -> str:
    """The page with its tables as they are now; what stands above the marker stays."""
    prose, marker, _ = page.partition(MARKER)
    if not marker:
        raise ValueError(f"claims.md has no line {MARKER.strip()}")
    return prose + marker + page_tables()


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
