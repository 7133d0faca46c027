"""A standalone module needs torch only, and is the same model to the last bit."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from linvit_codegen import NotGenerated, Options, expect_generated, generate, map_path, write
from linvit_codegen.embedded import all_pieces
from linvit_dsl.check import shipped_specs
from linvit_runtime import init, layers
from tests.codegen.conftest import Load
from tests.codegen.samples import SAMPLES, named
from tests.codegen.test_quality import RULES, run
from tests.codegen.test_specs import SMALL, draw, model

SCRIPTS = Path(sysconfig.get_path("scripts"))
STANDALONE = Options(standalone=True)
SPECS = [
    ("baseline", {"drop_path": 0.1}),
    ("hydravit", {"branches": 3}),
    ("ripplevit", {"stages": 2}),
    ("performer", {"features": 8}),
    ("nystromformer", {}),
]
# Imports of linvit fail, wherever the interpreter would find it.
ALONE = """
import sys
sys.modules.update(dict.fromkeys(("linvit_runtime", "linvit_dsl", "linvit_codegen", "numba")))
sys.path.insert(0, {folder!r})
import torch
import {module} as generated
from safetensors.torch import load_file, save_file
torch.manual_seed(0)
model = getattr(generated, generated.__all__[0])().eval()
output = model(load_file({images!r})["images"]).detach()
save_file({{**model.state_dict(), "output": output}}, {results!r})
"""


def alone(path: Path, images: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The fresh weights and the outputs of a module, in a process without linvit."""
    results, inputs = path.with_suffix(".results"), path.with_suffix(".inputs")
    save_file({"images": images}, inputs)
    program = ALONE.format(
        folder=str(path.parent), module=path.stem, images=str(inputs), results=str(results)
    )
    command = [sys.executable, "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=path.parent)
    assert done.returncode == 0, done.stderr
    weights = load_file(results)
    output = weights.pop("output")
    return weights, output


@pytest.mark.parametrize(("spec", "statics"), SPECS)
def test_it_is_the_same_model_without_linvit(
    spec: str, statics: dict[str, object], tmp_path: Path, load: Load
) -> None:
    graph = model(spec, statics=SMALL | statics).graph
    path = tmp_path / "alone.py"
    write(generate(graph, options=STANDALONE), path)
    images = draw(graph.inputs[0].type.sizes).float()
    weights, output = alone(path, images)
    normal = generate(graph, options=Options(kernels="reference"))
    torch.manual_seed(0)
    expected = getattr(load(normal), normal.name)().eval()
    assert set(weights) == set(expected.state_dict())
    for key, tensor in expected.state_dict().items():
        assert torch.equal(weights[key], tensor), key
    assert torch.equal(output, expected(images))


def test_the_process_without_linvit_is_one(tmp_path: Path) -> None:
    path = tmp_path / "normal.py"
    write(generate(model("baseline", statics=SMALL).graph), path)
    with pytest.raises(AssertionError, match="linvit_runtime"):
        alone(path, torch.zeros(1, 3, 16, 16))


def test_it_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "alone.py"
    write(generate(SAMPLES["bank"](), options=STANDALONE), path)
    assert [p.name for p in tmp_path.iterdir()] == ["alone.py"]
    assert not map_path(path).exists()


def test_everything_of_the_runtime_that_modules_use_can_be_carried_along() -> None:
    for module in (init, layers):
        for name, thing in vars(module).items():
            if callable(thing) and getattr(thing, "__module__", "") == module.__name__:
                local = f"init_{name}" if module is init and name[0] != "_" else name
                assert local in all_pieces()


def test_names_of_the_text_make_way() -> None:
    pieces = [name for name in all_pieces() if name[0] != "_"]
    graph = named(values=tuple(pieces[:8]), slots=("attend", "DropPath"), block="attend")
    text = generate(graph, options=STANDALONE).text
    expect_generated(text)
    assert "class attend(nn.Module):" in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with all shipped specs and samples, standalone."""
    folder = tmp_path_factory.mktemp("standalone")
    graphs = {name: build() for name, build in SAMPLES.items()}
    graphs |= {spec: model(spec).graph for spec in shipped_specs()}
    for name, graph in graphs.items():
        text = generate(graph, options=STANDALONE).text
        expect_generated(text)
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def test_ruff_finds_nothing(folder: Path) -> None:
    for command in (["check", "--isolated", *RULES], ["format", "--isolated", "--diff"]):
        result = run(SCRIPTS / "ruff", *command, folder)
        assert result.returncode == 0, result.stdout


@pytest.mark.slow
def test_pyright_finds_nothing(folder: Path) -> None:
    (folder / "pyrightconfig.json").write_text("{}")
    result = run(SCRIPTS / "pyright", "-p", folder, "--pythonpath", sys.executable)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (("nn.init.normal_(weight, std=std)", "exit()"), "a Lambda"),
        (("nn.init.zeros_(bias)", "exit()"), "function _fill"),
        (("import torch\n", "import torch\nimport os\n"), "`import os`"),
        (("from functools import wraps", "from functools import reduce"), "functools"),
        (("from functools import wraps", "from functools import wraps as w"), "functools"),
        (("# fmt: on", "float32 = exit\n# fmt: on"), "`float32 = exit`"),
        (("@float32", "@init_zeros"), "function linear_state"),
        (("from __future__ import annotations\n", ""), "collections.abc"),
    ],
)
def test_only_pieces_of_the_runtime_may_stand_in_it(edit: tuple[str, str], what: str) -> None:
    text = generate(model("hydravit", statics=SMALL).graph, options=STANDALONE).text
    expect_generated(text)
    assert edit[0] in text
    with pytest.raises(NotGenerated) as refusal:
        expect_generated(text.replace(*edit, 1))
    assert what in str(refusal.value)
