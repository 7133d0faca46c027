"""What every test shares: quiet thread pools, golden files, and skips with a reason."""

import os
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path

# Both are read once, when torch loads its OpenMP. A spinning pool on a busy machine makes small
# operations up to sixteen times slower, and one thread keeps float sums in one order. torch itself
# is not imported here: most tests never need it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import HealthCheck, settings

GOLDEN_ROOT = Path(__file__).parent / "golden"

# Examples are bounded in number, not in time: a loaded machine must not fail a test. On CI the
# examples are the same in every run; elsewhere each run tries new ones.
settings.register_profile(
    "linvit",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("linvit")


@pytest.fixture(scope="session", autouse=True)
def _reports_of_bugs(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Reports of internal errors lie with the other files of the tests, and go with them."""
    from linvit_dsl.cli import failures

    failures.REPORTS = tmp_path_factory.mktemp("reports")


@dataclass(frozen=True, slots=True)
class Golden:
    """Compares text with the reviewed copy of it under `tests/golden`, or replaces the copy.

    Attributes:
        update: write the file instead of comparing (`./dev test --update-golden`).
        root: the folder that holds the reviewed copies.
    """

    update: bool
    root: Path = GOLDEN_ROOT

    def check(self, relative_path: str, text: str) -> None:
        """Fail unless `text` equals the golden file, byte for byte in UTF-8."""
        path = self.root / relative_path
        if not path.resolve().is_relative_to(self.root.resolve()):
            pytest.fail(f"golden path {relative_path!r} leaves {self.root}")
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
            return
        how = "create it with `./dev test --update-golden`, then review it"
        if not path.is_file():
            pytest.fail(f"no golden file {path}: {how}")
        expected = path.read_bytes().decode()
        if text != expected:
            lines = unified_diff(
                expected.splitlines(keepends=True),
                text.splitlines(keepends=True),
                f"golden/{relative_path}",
                "this run",
            )
            pytest.fail(
                f"{path} differs; if the change is meant, {how}\n{''.join(lines)}", pytrace=False
            )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--update-golden`."""
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write tests/golden from this run instead of comparing with it",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test marked `gpu` where torch sees no CUDA device."""
    if item.get_closest_marker("gpu") is None:
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and torch sees none")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Give the golden-file checker: `golden.check("codegen/ripplevit.py", text)`."""
    return Golden(update=bool(request.config.getoption("--update-golden")))
