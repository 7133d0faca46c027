"""`linvit kernels`: compile the CUDA kernels ahead, list them, and verify them on a device."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from linvit_dsl.cli.arguments import load_model
from linvit_dsl.cli.failures import REJECTED, UsageProblem

if TYPE_CHECKING:
    from linvit_runtime.kernels.cuda.build import BuiltKernel, Capability
    from linvit_runtime.kernels.cuda.choose import Call
    from linvit_runtime.kernels.cuda.kernel import Kernel

EXAMPLES = """\
examples:
  linvit kernels build --arch sm_80,sm_90              for heads 64 wide, split_relu
  linvit kernels build --arch sm_90 ripplevit my.vit   what these models call
  linvit kernels list                                  what is in the cache
  linvit kernels verify                                on this machine's GPU

Building needs no GPU. The cache is $LINVIT_KERNEL_CACHE, else linvit/kernels
in the user's cache folder; a machine without compilers takes its kernels from there.
"""

DTYPES = ("bfloat16", "float16", "float32")
_BATCHES = (1, 64)  # few heads and many may run different kernels


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    build = actions.add_parser(
        "build",
        usage="linvit kernels build [SPEC[:MODEL] ...] --arch ARCHS [OPTIONS]",
        help="compile kernels into the cache; needs no GPU",
    )
    build.add_argument(
        "specs",
        metavar="SPEC[:MODEL]",
        nargs="*",
        help="what these models call (default: heads 64 wide)",
    )
    build.add_argument(
        "--arch",
        metavar="ARCHS",
        help="the architectures, as sm_80,sm_90 (default: that of this machine's GPU)",
    )
    build.add_argument(
        "--dtype",
        metavar="DTYPES",
        default=",".join(DTYPES),
        help=f"the dtypes (default: {','.join(DTYPES)})",
    )
    build.set_defaults(handler=_build)
    actions.add_parser(
        "list", usage="linvit kernels list", help="list the kernels of the cache"
    ).set_defaults(handler=_list)
    verify = actions.add_parser(
        "verify",
        usage="linvit kernels verify [OPTIONS]",
        help="hold every kernel to the definition in float64",
    )
    verify.add_argument(
        "--device",
        metavar="DEVICE",
        choices=("cuda", "cpu"),
        default="cuda",
        help="whose kernels: cuda (default) or cpu",
    )
    verify.set_defaults(handler=_verify)


def _build(options: argparse.Namespace) -> int:
    """Compile what the models call, and print what the assembler says of it."""
    from linvit_runtime.kernels.cuda.build import arch_name, build, cache_folder, missing_compilers

    capabilities = _capabilities(options.arch)
    calls = list(_calls(options.specs, _dtypes(options.dtype)))
    if missing := missing_compilers():
        raise UsageProblem(
            f"kernels cannot be compiled without {', '.join(missing)}\n"
            "  help: pip install 'linvit[cuda]'"
        )
    rows: list[BuiltKernel] = []
    for capability in capabilities:
        for kernel in _kernels(calls, capability):
            print(f"{kernel.name} for {arch_name(capability)} ...", file=sys.stderr)
            try:
                rows.append(build(kernel, capability))
            except Exception as problem:  # the toolkit's own ways to refuse an architecture
                name = arch_name(capability)
                raise UsageProblem(f"cannot build {kernel.name} for {name}: {problem}") from problem
    if not rows:
        print("no kernels to build: nothing here calls one that such devices have")
        return 0
    _print(rows)
    print(f"\n{len(rows)} kernels in {cache_folder()}")
    return 0


def _list(_: argparse.Namespace) -> int:
    from linvit_runtime.kernels.cuda.build import cache_folder, cached_kernels

    rows = [built for _, built in cached_kernels()]
    if rows:
        _print(rows)
        print()
    print(f"{len(rows)} kernels in {cache_folder()}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    import torch

    from linvit_runtime.kernels.dispatch import torch_reasons
    from linvit_runtime.kernels.verify import verify

    if options.device == "cuda" and not torch.cuda.is_available():
        raise UsageProblem(
            "torch sees no CUDA device to verify kernels on\n"
            "  help: --device cpu verifies the CPU kernels"
        )
    count = failures = in_torch = 0
    for verdict in verify(options.device):
        count, failures = count + 1, failures + (not verdict.passed)
        in_torch += "torch" in (verdict.forward, verdict.backward)
        errors = " ".join(f"{error:.1e}" for error in verdict.errors)
        word = "ok  " if verdict.passed else "FAIL"
        what = f"{verdict.feature_map} {verdict.dtype} {list(verdict.shape)}"
        print(f"{word} {what}: {verdict.forward}, {verdict.backward}; out dq dk dv {errors}")
    print(f"{failures} of {count} cases differ from the definition in float64")
    if in_torch:  # there is a kernel for every case
        print(f"{in_torch} of {count} ran in torch, which verifies no kernel:")
        print(*(f"  {reason}" for reason in torch_reasons()), sep="\n")
    return REJECTED if failures or in_torch else 0


def _capabilities(text: str | None) -> list[Capability]:
    from linvit_runtime.kernels.cuda.build import arch_name
    from linvit_runtime.kernels.cuda.kernel import OLDEST_CAPABILITY
    from linvit_runtime.kernels.explanation import parse_arch

    if text:
        try:
            found = [parse_arch(word.strip()) for word in text.split(",")]
        except ValueError as problem:
            raise UsageProblem(f"--arch: {problem}") from problem
    else:
        found = [_capability_of_this_machine()]
    for capability in found:
        if capability < OLDEST_CAPABILITY:
            name, oldest = arch_name(capability), arch_name(OLDEST_CAPABILITY)
            raise UsageProblem(
                f"there are no kernels for {name}: the oldest supported architecture is {oldest}"
            )
    return found


def _capability_of_this_machine() -> Capability:
    import torch

    if not torch.cuda.is_available():
        raise UsageProblem("torch sees no CUDA device; name architectures: --arch sm_80,sm_90")
    return torch.cuda.get_device_capability()


def _dtypes(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    for word in words:
        if word not in DTYPES:
            raise UsageProblem(f"--dtype: there are no kernels for {word!r}: {', '.join(DTYPES)}")
    return words


def _calls(specs: Sequence[str], dtypes: Sequence[str]) -> Iterator[Call]:
    """The passes of the models, or of a usual one, in inference and in training."""
    from linvit_codegen.kernel_calls import KernelCall, kernel_calls
    from linvit_runtime.kernels.cuda.choose import Call

    usual = KernelCall("split_relu", "linear", 1, 6, 196, 196, 64, 64)
    found = dict.fromkeys(
        call for spec in specs for call in kernel_calls(load_model(spec, {}).graph)
    )
    for call in found or ([] if specs else [usual]):
        for dtype in dtypes:
            for batch in _BATCHES:
                tokens = (batch * call.batch, call.queries, call.keys)
                sizes = (*tokens, call.heads, call.head_dim, call.value_dim)
                yield Call("forward", call.feature_map, dtype, *sizes)
                yield Call("forward", call.feature_map, dtype, *sizes, save_state=True)
                yield Call("backward", call.feature_map, dtype, *sizes)


def _kernels(calls: Sequence[Call], capability: Capability) -> list[Kernel]:
    """What a device of that capability runs for these calls, each once."""
    from linvit_runtime.kernels.cuda.choose import choose
    from linvit_runtime.kernels.cuda.passes import kernels_of

    choices = (choose(call, capability) for call in calls)
    return list(
        {kernel.name: kernel for choice in choices for kernel in kernels_of(choice)}.values()
    )


def _print(rows: Sequence[BuiltKernel]) -> None:
    from linvit_dsl.cli.table import table

    headings = ("kernel", "arch", "registers", "spills", "shared", "size", "seconds")
    cells = [
        (
            built.name,
            built.arch,
            str(built.registers),
            str(built.spill_bytes),
            f"{built.shared_bytes:,}",
            f"{len(built.cubin):,}",
            "cached" if built.from_cache else f"{built.seconds:.1f}",
        )
        for built in rows
    ]
    print(table(headings, cells, (True, True, False, False, False, False, False)), end="")
