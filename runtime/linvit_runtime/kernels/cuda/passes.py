"""The forward and backward passes on CUDA tensors: which class runs a choice.

A pass is made once per device and shapes, which compiles and loads its kernels and computes all
that the shapes decide; a call of it then only allocates and launches. Nothing waits for the device.
"""

from typing import Any

from linvit_runtime.kernels.cuda.choose import Call, Choice
from linvit_runtime.kernels.cuda.kernel import Kernel
from linvit_runtime.kernels.cuda.plan import SimtBackwardPlan, SimtPlan
from linvit_runtime.kernels.cuda.simt_passes import SimtBackward, SimtForward
from linvit_runtime.kernels.cuda.tensor_gradient_plan import TensorBackwardPlan
from linvit_runtime.kernels.cuda.tensor_passes import TensorBackward, TensorForward
from linvit_runtime.kernels.cuda.tensor_plan import TensorPlan

# A pass class is found by the type of its plan. It is made of (call, plan, device), which prepares
# its kernels, and called with what the operator gets.
_PASSES: dict[type, Any] = {
    SimtPlan: SimtForward,
    SimtBackwardPlan: SimtBackward,
    TensorPlan: TensorForward,
    TensorBackwardPlan: TensorBackward,
}


def make_pass(call: Call, choice: Choice, device: int) -> Any:
    """The pass for calls of exactly these shapes, its kernels compiled and loaded.

    Raises:
        CaptureProblem: The current stream is being captured.
        Exception: numba-cuda, the toolkit behind it or the driver cannot.
    """
    assert choice.plan is not None
    return _PASSES[type(choice.plan)](call, choice.plan, device)


def kernels_of(choice: Choice) -> tuple[Kernel, ...]:
    """The kernels that the pass of a choice launches, in order; none for torch."""
    return () if choice.plan is None else _PASSES[type(choice.plan)].kernels(choice.plan)
