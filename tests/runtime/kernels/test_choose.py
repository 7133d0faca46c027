"""The table of CUDA paths: which rule a call meets, and what is asked of it without a device."""

from pathlib import Path

import pytest

from linvit_runtime.kernels import FEATURE_MAPS, explain
from linvit_runtime.kernels.cuda import choose
from linvit_runtime.kernels.cuda.choose import Call, Rule, Table
from linvit_runtime.kernels.cuda.plan import choose_backward_plan
from linvit_runtime.kernels.explanation import parse_arch

CALL = Call("forward", "relu", "float32", 2, 196, 49, 6, 64, 32)
H200 = (9, 0)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (Rule("simt"), True),
        (Rule("simt", directions=("backward",)), False),
        (Rule("simt", dtypes=("bfloat16", "float32")), True),
        (Rule("simt", dtypes=("bfloat16",)), False),
        (Rule("simt", feature_maps=("split_relu",)), False),
        (Rule("simt", head_dims=(32,)), False),
        (Rule("simt", capability_from=(9, 0)), True),
        (Rule("simt", capability_from=(10, 0)), False),
        (Rule("simt", capability_below=(9, 0)), False),
        (Rule("simt", heads_from=12, heads_below=13), True),
        (Rule("simt", heads_below=12), False),
        (Rule("simt", tokens_from=196, tokens_below=197), True),
        (Rule("simt", tokens_from=197), False),
    ],
)
def test_a_rule_is_about_what_it_names(rule: Rule, fits: bool) -> None:
    assert rule.fits(CALL, H200) is fits


def test_the_first_rule_with_a_kernel_decides_and_says_what_it_passed_over() -> None:
    absent = Rule("simt", directions=("backward",))
    wide = Call("forward", "relu", "float32", 2, 196, 49, 6, 2048, 32)
    table = Table(True, "", (absent, Rule("simt", split=2), Rule("simt", split=3)))
    choice = choose.choose(CALL, H200, table)
    assert (choice.path, choice.split) == ("simt", 2)
    assert choice.reason == "by the table for sm_90, measured"
    assert choose.choose(wide, H200, table).path == "torch"
    assert "a head width of 2048 does not fit" in choose.choose(wide, H200, table).reason


def test_a_call_that_no_rule_is_about_takes_torch() -> None:
    choice = choose.choose(CALL, H200, Table(True, "", ()))
    assert (choice.path, choice.reason) == ("torch", "no rule of the table fits")


def test_a_feature_map_without_a_kernel_takes_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose.choose(CALL, H200).path == "simt"
    monkeypatch.setattr(choose, "SIMT_FEATURE_MAPS", ("split_relu",))
    choice = choose.choose(CALL, H200)
    assert (choice.path, choice.reason) == (
        "torch",
        "there is no kernel for the feature map relu",
    )


def test_the_shipped_table_admits_that_nothing_was_measured() -> None:
    table = choose.read_table()
    assert not table.measured
    assert "not yet measured" in table.note
    assert choose.choose(CALL, H200).reason.endswith("not yet measured")


def test_measured_rules_are_read_back_as_written(tmp_path: Path) -> None:
    rules = (
        Rule("tensor", 4, ("forward",), ("bfloat16",), ("relu",), (64,), (9, 0), (10, 0), 1, 264),
        Rule("simt", tokens_from=512, tokens_below=1024),
        Rule("simt"),
    )
    path = tmp_path / "choices.toml"
    path.write_text("# What it is.\n\n[source]\nmeasured = false\nnote = ''\nrule = []\n")
    choose.write_rules(rules, 'an H200, "today"', path)
    assert choose.read_table(path) == Table(True, 'an H200, "today"', rules)
    assert path.read_text().startswith("# What it is.\n")


def test_a_misspelt_key_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "choices.toml"
    path.write_text(
        "[source]\nmeasured = true\nnote = ''\n[[rule]]\npath = 'simt'\nmap = ['relu']\n"
    )
    with pytest.raises(ValueError, match=r"choices.toml: rule 1 has the unknown key 'map'"):
        choose.read_table(path)


@pytest.mark.parametrize(
    ("device", "dtype", "width", "backends"),
    [
        ("cpu", "float32", 64, ("numba-cpu", "numba-cpu")),
        ("cpu", "float64", 64, ("torch", "torch")),
        ("cpu", "float32", 1000, ("torch", "torch")),
        ("sm_90", "float64", 64, ("torch", "torch")),
        ("sm_75", "float32", 64, ("numba-cuda-simt", "numba-cuda-simt")),
        ("sm_90", "float32", 1000, ("torch", "torch")),
        ("sm_70", "float32", 64, ("torch", "torch")),
    ],
)
def test_a_call_is_explained_without_a_device(
    device: str, dtype: str, width: int, backends: tuple[str, str]
) -> None:
    sizes = {"batch": 2, "queries": 9, "keys": 9, "heads": 2, "head_dim": width, "value_dim": width}
    passes = explain("relu", dtype, device, **sizes)
    assert tuple(one.backend for one in passes) == backends
    assert tuple(one.direction for one in passes) == ("forward", "backward")


@pytest.mark.parametrize(
    ("feature_map", "width", "backend"),
    [
        *[(feature_map, 64, "numba-cuda-simt") for feature_map in FEATURE_MAPS],
        ("identity", 266, "numba-cuda-simt"),  # FAVOR+ for heads 64 wide
        ("identity", 352, "numba-cuda-simt"),
        ("split_relu", 176, "numba-cuda-simt"),
        ("identity", 438, "torch"),  # FAVOR+ for heads 96 wide
    ],
)
def test_ordinary_threads_have_every_feature_map_up_to_352_features(
    feature_map: str, width: int, backend: str
) -> None:
    sizes = {"batch": 2, "queries": 9, "keys": 9, "heads": 2, "head_dim": width, "value_dim": 64}
    for one in explain(feature_map, "float32", "sm_75", **sizes):
        assert one.backend == backend
        if backend == "torch":
            assert one.reason == "a head width of 438 does not fit into shared memory"


def test_blocks_of_columns_are_about_equal() -> None:
    plan = choose_backward_plan("split_relu", 96, 96)
    assert plan is not None
    # At most 80 columns fit. 80 and 16 would be as many blocks, one of which waits for the other.
    assert (plan.sums.block_columns, plan.sums.num_column_blocks) == (48, 2)


def test_architectures_are_read_as_they_are_written() -> None:
    assert [parse_arch(text) for text in ("sm_80", "sm_120")] == [(8, 0), (12, 0)]
    with pytest.raises(ValueError, match="'90' is no architecture; they are written like sm_80"):
        parse_arch("90")
