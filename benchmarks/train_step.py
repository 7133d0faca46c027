r"""How fast a model trains: with linvit's kernels, and with what it would run otherwise.

    OMP_WAIT_POLICY=PASSIVE .venv/bin/python benchmarks/train_step.py [--save MACHINE]
    .venv/bin/python benchmarks/train_step.py --device cuda --autocast bfloat16 \
        --batch 64 --images 224 --patch 16 [--save MACHINE]

One step is forward, cross-entropy, backward and AdamW on a batch of random images. Each model is
taken in four forms that share their weights: compiled with kernels (the default of `linvit
compile`), with the torch reference of linear attention (`--kernels reference`), that under
torch.compile, and the plain ViT-S of the same width, depth and patches from timm, which needs timm
installed. Forms take turns; a ratio is the median of the ratios of single turns.

The gate: kernels and reference give the same loss and the same gradients before anything is timed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from linvit_codegen import Options, generate
from linvit_dsl import __version__
from linvit_dsl.api import load
from linvit_runtime.generated import build
from linvit_runtime.kernels import backends_used

RESULTS = Path(__file__).parent / "results"
MODELS = {"linear": "LinearViT", "ripplevit": "RippleViT"}


@dataclass(frozen=True, slots=True)
class Case:
    """A model at an image size and a patch size, in pixels."""

    spec: str
    image: int
    patch: int
    batch: int
    threads: int
    device: str = "cpu"
    autocast: str | None = None

    @property
    def tokens(self) -> int:
        """Patches and the class token."""
        return (self.image // self.patch) ** 2 + 1

    def images(self) -> tuple[Tensor, Tensor]:
        """Random images and labels."""
        generator = torch.Generator().manual_seed(0)
        shape = self.batch, 3, self.image, self.image
        images = torch.randn(shape, generator=generator)
        return images.to(self.device), (torch.arange(self.batch) % 100).to(self.device)

    def loss(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy, under autocast if the case asks for it."""
        dtype = None if self.autocast is None else getattr(torch, self.autocast)
        with torch.autocast(self.device, dtype, enabled=dtype is not None):
            return functional.cross_entropy(model(images), labels)

    def now(self) -> float:
        """Seconds, once the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one case: milliseconds a step, and ratios to linvit's with quartiles."""

    case: Case
    milliseconds: dict[str, float]
    ratios: dict[str, tuple[float, float, float]]


def module(case: Case, kernels: str) -> nn.Module:
    """The model, with weights that depend on nothing but the case."""
    builder = getattr(load(case.spec), MODELS[case.spec])
    graph = builder.graph(image=case.image, patch=case.patch, drop=0)
    torch.manual_seed(0)
    options = Options(kernels="auto" if kernels == "auto" else "reference")
    text = generate(graph, sources=builder.program.sources, options=options)
    return build(text, builder.name).to(case.device)


def timm_vit(case: Case) -> nn.Module | None:
    """ViT-S of the same size from timm, or None without timm."""
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return None
    except RuntimeError:  # a build for CUDA beside torch for CPUs lacks these operators
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept.append(operators)
    try:
        models = importlib.import_module("timm.models.vision_transformer")
    except ImportError:
        return None
    return models.VisionTransformer(
        img_size=case.image, patch_size=case.patch, embed_dim=384, depth=12, num_heads=6,
        num_classes=100,
    ).to(case.device)  # fmt: skip


_kept: list[torch.library.Library] = []  # declarations live as long as the object that made them


def step(model: nn.Module, case: Case) -> Callable[[], Tensor]:
    """One training step as a function; the loss before it."""
    images, labels = case.images()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)  # as `linvit train`

    def run() -> Tensor:
        loss = case.loss(model, images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return run


def gate(case: Case, ours: nn.Module, reference: nn.Module) -> None:
    """Stop unless both forms have one loss and one gradient.

    Raises:
        AssertionError: They differ; nothing is timed then.
    """
    images, labels = case.images()
    gradients: list[Tensor] = []
    for model in (ours, reference):
        case.loss(model, images, labels).backward()
        parts = (p.grad for p in model.parameters() if p.grad is not None)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    left, right = gradients
    error = ((left - right).norm() / right.norm()).item()
    limit = 1e-3 if case.autocast is None else 5e-2  # of half precision through all layers
    assert error < limit, f"the gradients of {case} differ by {error:.1e}"  # NaN is no less


def measure(case: Case, turns: int, with_compiled: bool) -> Row:
    """Time all forms of a model in turns.

    Raises:
        AssertionError: The gate is red.
    """
    torch.set_num_threads(case.threads)
    ours, reference = module(case, "auto"), module(case, "reference")
    gate(case, ours, reference)
    steps = {"kernels": step(ours, case), "reference": step(reference, case)}
    if with_compiled:
        model = module(case, "reference")
        model.compile(dynamic=False)
        steps["compiled"] = step(model, case)
    timm = timm_vit(case)
    if timm is not None:
        steps["timm ViT"] = step(timm, case)
    for run in steps.values():
        run()
        run()
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, run in steps.items():
            start = case.now()
            run()
            times[name].append((case.now() - start) * 1000)
    ratios: dict[str, tuple[float, float, float]] = {}
    for name, values in times.items():
        if name != "kernels":
            of_turns = [a / b for a, b in zip(values, times["kernels"], strict=True)]
            low, median, high = statistics.quantiles(of_turns, n=4, method="inclusive")
            ratios[name] = low, median, high
    return Row(case, {name: statistics.median(v) for name, v in times.items()}, ratios)


def save(machine: str, rows: list[Row]) -> Path:
    """Keep all figures in `benchmarks/results/`."""
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    facts = {
        "date": today,
        "machine": machine,
        "load": os.getloadavg(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "linvit": __version__,
        "backends": backends_used(),
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{today}-train_step-{machine}.json"
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return path


def main() -> None:
    """Measure, print, and keep what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--images", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--autocast", choices=("bfloat16", "float16"), help="train in this dtype")
    parser.add_argument("--without-compiled", action="store_true")
    parser.add_argument("--save", metavar="MACHINE", help="name of this machine in the results")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device")
    rows: list[Row] = []
    print(f"{'model':<10} {'tokens':>6} {'threads':>7} {'ms a step':>10}   ratios to it")
    for spec in options.models:
        for image in options.images:
            for threads in options.threads:
                sizes = image, options.patch, options.batch, threads
                case = Case(spec, *sizes, options.device, options.autocast)
                row = measure(case, options.turns, not options.without_compiled)
                rows.append(row)
                cells = ", ".join(f"{name} {r[1]:.2f}x" for name, r in row.ratios.items())
                ours = row.milliseconds["kernels"]
                print(
                    f"{spec:<10} {case.tokens:>6} {threads:>7} {ours:>10.1f}   {cells}", flush=True
                )
    if options.save:
        print(f"kept in {save(options.save, rows)}")


if __name__ == "__main__":
    main()
