"""Training and evaluation: an explicit loop that resumes bit for bit.

The command line builds a `Run` and calls `train`; it prints a `RunProblem` or `Stopped` and exits
with its `exit_code`.
"""

from linvit_runtime.train.built_model import MODULE, build_model
from linvit_runtime.train.distributed import Dist, is_main_process
from linvit_runtime.train.evaluation import Evaluation, evaluate
from linvit_runtime.train.loop import expect_fit, train
from linvit_runtime.train.problems import (
    CheckpointProblem,
    Diverged,
    SetupProblem,
    Stopped,
    StorageProblem,
)
from linvit_runtime.train.redraw import redraw_features
from linvit_runtime.train.run import Result, Run, run_directory
from linvit_runtime.train.run_folder import kernels_record, read_config
from linvit_runtime.train.weights import load_weights

__all__ = [
    "MODULE",
    "CheckpointProblem",
    "Dist",
    "Diverged",
    "Evaluation",
    "Result",
    "Run",
    "SetupProblem",
    "Stopped",
    "StorageProblem",
    "build_model",
    "evaluate",
    "expect_fit",
    "is_main_process",
    "kernels_record",
    "load_weights",
    "read_config",
    "redraw_features",
    "run_directory",
    "train",
]
