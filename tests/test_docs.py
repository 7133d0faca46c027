"""The documentation is true: its specs compile, its numbers, outputs, commands and links are real.

Fenced blocks say what they are: `vit` is a complete spec without findings; `vit fragment` are
statements of a block; `vit rejected FILE` is a spec whose findings the next block shows as printed;
`python` runs; `python generated` are whole classes of the module generated from `ripplevit`.
"""

import importlib.util
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from linvit_dsl import check_spec, expectations, load
from linvit_dsl.check import SpecNotFound, find_spec, open_program, shipped_specs
from linvit_dsl.cli import main
from linvit_dsl.cli.failures import UsageProblem
from linvit_dsl.cli.parser import VERBS, parse
from linvit_dsl.errors.render import render_all
from linvit_dsl.graph import limits

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
SPECS = (
    *("baseline", "vit_tiny_cifar10", "linear", "ripplevit", "hydravit"),
    *("linformer", "performer", "nystromformer", "hybrid", "qavit"),
)

# Fragments stand in the body of a block that has these names.
AROUND_A_FRAGMENT = """\
block Fragment[heads: dim](x: [B, n, d]) -> [B, n, d] {{
{statements}
  return x
}}
model Around(x: [B, 16, 64]) -> [B, 16, 64] {{ return x |> Fragment[4] }}
"""


@dataclass(frozen=True, slots=True)
class Fence:
    """One fenced block: what its first line says, and its text with a final newline."""

    page: Path
    info: str
    text: str


def fences(page: Path) -> list[Fence]:
    """The fenced blocks of a page, in order."""
    found = re.findall(
        r"^```([^\n]*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return [Fence(page, info.strip(), text) for info, text in found]


def fences_called(kind: str) -> list[Fence]:
    """All fenced blocks of all pages whose first line is `kind`."""
    return [fence for page in PAGES for fence in fences(page) if fence.info == kind]


def findings(text: str, path: Path) -> str:
    """What `linvit check` prints about `text`, saved at `path`; empty if nothing."""
    path.write_text(text, encoding="utf-8")
    found = check_spec(path)
    return render_all(found) if found else ""


def numbered(kind: str) -> list[object]:
    return [pytest.param(f, id=f"{f.page.name}-{i}") for i, f in enumerate(fences_called(kind))]


# Specs


@pytest.mark.parametrize("fence", numbered("vit"))
def test_a_complete_spec_has_no_findings(fence: Fence, tmp_path: Path) -> None:
    path = tmp_path / "spec.vit"
    assert findings(fence.text, path) == ""
    assert open_program(path).models or "model" not in fence.text


@pytest.mark.parametrize("fence", numbered("vit fragment"))
def test_a_fragment_has_no_findings_in_a_block(fence: Fence, tmp_path: Path) -> None:
    text = AROUND_A_FRAGMENT.format(statements=fence.text)
    assert findings(text, tmp_path / "spec.vit") == ""


def test_a_wrong_spec_is_found(tmp_path: Path) -> None:
    fence = fences_called("vit")[0]
    assert "E0" in findings(fence.text.replace("= ViT[", "= ViT[depht = 3, "), tmp_path / "a.vit")
    fragment = AROUND_A_FRAGMENT.format(statements="x = x |> liner[d]")
    assert "E0201" in findings(fragment, tmp_path / "b.vit")


def rejections() -> Iterator[tuple[str, str, str]]:
    """File name, text, and what the next block says is printed."""
    for page in PAGES:
        blocks = fences(page)
        for fence, following in pairwise(blocks):
            if fence.info.startswith("vit rejected "):
                yield fence.info.split()[-1], fence.text, following.text


def test_a_printed_error_is_the_one_that_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = list(rejections())
    assert examples
    for name, text, shown in examples:
        Path(name).write_text(text, encoding="utf-8")
        assert main(["check", name]) == 1
        printed = f"$ linvit check {name}\n{capsys.readouterr().out}"
        assert printed == shown
        assert printed != shown.replace("error[", "warning["), "the comparison can fail"


# README


def test_the_spec_of_the_readme_is_the_shipped_one() -> None:
    (fence,) = (fence for fence in fences(README) if fence.info == "vit")
    assert fence.text in (ROOT / "specs/ripplevit.vit").read_text(encoding="utf-8")


def missing_classes(excerpt: str, generated: str) -> list[str]:
    """First lines of those classes of `excerpt` that `generated` does not hold, whole."""
    units = generated.split("\n\n\n")
    return [c.splitlines()[0] for c in excerpt.rstrip().split("\n\n\n") if c not in units]


def test_the_code_of_the_readme_is_generated() -> None:
    generated = load("ripplevit").RippleViT.generate().text
    for fence in fences_called("python generated"):
        assert missing_classes(fence.text, generated) == []
        changed = fence.text.replace("0.1", "0.2")
        assert missing_classes(changed, generated) == ["class EncoderLayer(nn.Module):"]


def cost_rows(text: str) -> dict[str, tuple[str, ...]]:
    """Spec -> parameters, MACs and GFLOP, as the README writes them."""
    rows = re.findall(r"^\| \[`(\w+)`\].*? \| ([\d,]+) \| ([\d,]+) \| ([\d.]+) \|$", text, re.M)
    return {name: tuple(numbers) for name, *numbers in rows}


def test_the_costs_of_the_readme_are_those_of_linvit_cost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected: dict[str, tuple[str, ...]] = {}
    for name in SPECS:
        assert main(["cost", name, "--format", "json"]) == 0
        costs = json.loads(capsys.readouterr().out)
        gigaflops = f"{costs['flops'] / 1e9:.3f}"
        expected[name] = (f"{costs['params']:,}", f"{costs['macs']:,}", gigaflops)
    text = README.read_text(encoding="utf-8")
    assert cost_rows(text) == expected
    assert cost_rows(text.replace("22,022,116", "22,022,117")) != expected, "it can fail"


def test_the_trained_model_has_the_parameters_that_the_readme_says() -> None:
    params = load("ripplevit").RippleViTDigits.cost().params
    assert f"({params:,} parameters" in README.read_text(encoding="utf-8")


def test_the_picture_shows_the_model_as_it_is_drawn_now(tmp_path: Path) -> None:
    dot = tmp_path / "ripplevit.dot"
    assert main(["render", "ripplevit", "-o", str(dot)]) == 0
    tips = re.findall(r'id="box-[^"]*".*?tooltip="([^"]*)"', dot.read_text(encoding="utf-8"))
    picture = (ROOT / "docs/images/ripplevit.svg").read_text(encoding="utf-8")
    assert len(tips) > 20
    assert {tip for tip in tips if tip not in picture} == set()


def test_the_readme_names_every_command() -> None:
    _, _, said = README.read_text(encoding="utf-8").partition("`linvit --help` lists the commands:")
    listed, _, _ = said.partition(".")
    assert sorted(re.findall(r"`(\w+)`", listed)) == sorted(VERBS)


# Commands, links, tables, Python


def commands(page: Path) -> Iterator[str]:
    """Every `linvit ...` line of a page: in blocks without a language, and in inline code."""
    text = page.read_text(encoding="utf-8")
    for fence in fences(page):
        if fence.info == "":
            yield from re.findall(r"^(?:\$ )?(linvit .*)$", fence.text, re.MULTILINE)
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`(linvit [^`]*)`", outside)


def problem(command: str) -> str:
    """Why a command line would be refused; empty if it would not."""
    words = shlex.split(command, comments=True)[1:]
    if words == ["--help"] or (len(words) == 1 and words[0] in VERBS):
        return ""  # a verb that is only mentioned
    try:
        options = parse(words)
    except UsageProblem as refusal:
        return str(refusal)
    spec = getattr(options, "spec", None)
    if spec is not None and not spec.partition(":")[0].endswith((".vit", ".safetensors")):
        try:
            path, model = find_spec(spec)
        except SpecNotFound as refusal:
            return str(refusal)
        if model is not None and model not in open_program(path).models:
            return f"no model {model}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_parses(page: Path) -> None:
    refused = {command: problem(command) for command in commands(page)}
    assert {command: why for command, why in refused.items() if why} == {}


def test_commands_are_found_and_wrong_ones_refused() -> None:
    assert len(list(commands(README))) >= 6
    assert problem("linvit train ripplevit:RippleViTDigits --resume auto  # go on") == ""
    wrong = ("linvit chekc a.vit", "linvit cost ripplevit --colour", "linvit cost riplevit")
    assert all(problem(command) for command in (*wrong, "linvit cost ripplevit:Nothing"))


def test_the_kernels_of_the_page_are_those_that_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (shown,) = (f.text for f in fences(ROOT / "docs/kernels.md") if f.text.startswith("$ linvit"))
    command, _, printed = shown.partition("\n")
    assert main(shlex.split(command)[2:]) == 0
    assert capsys.readouterr().out == printed


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(text: str, folder: Path) -> list[str]:
    """Relative links and pictures that lead nowhere."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "code", text)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    broken: list[str] = []
    for target in targets:
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (folder / name).resolve()
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert broken_links(page.read_text(encoding="utf-8"), page.parent) == []


def test_a_broken_link_is_found() -> None:
    text = '[a](docs/language.md#pipes) [b](docs/no.md) [`c`](README.md) `[x](y)` <img src="z">'
    assert broken_links(text, ROOT) == ["docs/language.md#pipes", "docs/no.md", "z"]


def script(name: str) -> ModuleType:
    """A file of `docs`, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / f"docs/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where pydantic and dataclasses look annotations up
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_up_to_date() -> None:
    update = script("update")
    tables: list[str] = []
    for name in update.PAGES:
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert update.filled(text) == text, "run `python docs/update.py`"
        tables += re.findall(r"<!-- table: (\w+) -->", text)
    assert sorted(tables) == sorted(update.TABLES)
    numbers = {name for name, value in vars(limits).items() if isinstance(value, int)}
    assert set(update.LIMIT_WORDS) == numbers, "every limit is in the table"
    reference = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    wrong = reference.replace("`eye[size: dim]()`", "`eye[n: dim]()`")
    assert update.filled(wrong) == reference != wrong, "a wrong row is put right"


def test_every_shipped_spec_has_its_source() -> None:
    page = (ROOT / "docs/architectures.md").read_text(encoding="utf-8")
    table, _, _ = page.partition("## What a mixer costs")
    rows = "\n".join(re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE))
    assert sorted(re.findall(r"`(\w+)`", rows)) == sorted(shipped_specs())


def test_the_ledger_is_up_to_date() -> None:
    claims = script("claims_update")
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert claims.updated(page) == page, "run `python docs/claims_update.py`"
    wrong = page.replace("21,376,996", "23,500,000")
    assert claims.updated(wrong) == page != wrong, "a wrong row is put right"
    stated = [e for spec in shipped_specs() for e in expectations(spec) if not e.binding]
    for claim in stated:
        assert f"`{claim.model}`: " in page
        assert f"{claim.actual:,} (" in page


def test_a_verdict_cannot_contradict_the_count() -> None:
    claims = script("claims_update")
    assert claims.judged("a", None, holds=True) == "right"
    assert claims.judged("a", None, holds=False) == "wrong"
    assert claims.judged("a", "impossible", holds=False) == "impossible"
    for verdict, holds in (("wrong", True), ("impossible", True), ("right", False)):
        with pytest.raises(ValueError, match="a: "):
            claims.judged("a", verdict, holds=holds)
    ledger = claims.read_ledger()
    stray = ledger.model_copy(update={"remark": (claims.Remark(claim="Nobody: params, nowhere"),)})
    with pytest.raises(ValueError, match="no such claim: Nobody"):
        list(claims.rows(stray))


def test_the_python_of_a_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LINVIT_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {}
    for fence in fences(ROOT / "docs/python.md"):
        assert fence.info == "python"
        exec(compile(fence.text, "docs/python.md", "exec"), names)
        printed = capsys.readouterr().out.splitlines()
        for said in re.findall(r"^print\(.*\)  # (.*)$", fence.text, re.MULTILINE):
            assert said.rpartition(": ")[2] in printed
