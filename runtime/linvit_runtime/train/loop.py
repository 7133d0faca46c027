"""The training loop.

Everything that a step needs is a function of (seed, step); what is carried from step to step is
weights, optimizer state, average and the number of the step. That is all a checkpoint holds, and
why a run that was cut anywhere ends with the same bits as one that was not.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from signal import Signals
from typing import NoReturn

from linvit_runtime.data import DataSet
from linvit_runtime.errors import RunProblem
from linvit_runtime.train.batches import batch_at
from linvit_runtime.train.checkpoint import Checkpoint, CheckpointStore
from linvit_runtime.train.distributed import Dist
from linvit_runtime.train.divergence import report_divergence
from linvit_runtime.train.evaluation import Evaluation, evaluate
from linvit_runtime.train.keys import Purpose, reseed
from linvit_runtime.train.metrics import MetricsLog, Record
from linvit_runtime.train.optimizer import set_learning_rate
from linvit_runtime.train.problems import Diverged, SetupProblem, Stopped, StorageProblem, storing
from linvit_runtime.train.progress import Progress
from linvit_runtime.train.redraw import redraw_features
from linvit_runtime.train.run import Result, Run
from linvit_runtime.train.run_folder import CHECKPOINTS, METRICS, RunFolder, open_run_folder
from linvit_runtime.train.schedule import Schedule
from linvit_runtime.train.signals import StopRequest, stop_on_signal
from linvit_runtime.train.state import describe_state, initial_state
from linvit_runtime.train.step import StepOutcome, take_step

MAX_TRAIN_RECORDS = 20_000
MAX_FAILED_SAVES = 3


def train(run: Run) -> Result:
    """Train until the recipe is done, from the newest checkpoint of the run folder if there is one.

    Seeds torch's global generators at every step. Under `torchrun` every process calls this.

    Raises:
        SetupProblem: Model, recipe, data and folder do not fit together (exit 2).
        Diverged: NaN or infinity in loss or gradient; no step was taken with it (exit 3).
        StorageProblem: Checkpoints or records cannot be written or read (exit 74).
        Stopped: SIGINT, SIGTERM or SIGUSR1 arrived, and the run was saved (exit 130 or 75).
    """
    started = time.perf_counter()
    schedule = Schedule.of(run.recipe, len(run.data.train_images))
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signal())
        dist = stack.enter_context(Dist.from_env(run.device))
        _check_fit(run, dist)
        folder = _open_folder(run, dist, stack)
        training = _Training(run, schedule, dist, stop, stack, folder)
        training.finish()
        result = training.result(time.perf_counter() - started)
        if folder:
            folder.end(result)
        return result


def expect_fit(
    model: str, image_shape: tuple[int, int, int] | None, classes: int | None, data: DataSet
) -> None:
    """Demand that a model takes the images (C, H, W) of `data`, and tells its classes apart.

    Raises:
        SetupProblem: It does not. What is None is not compared.
    """
    if image_shape is not None and image_shape != data.image_shape:
        raise SetupProblem(
            f"{model} takes images of {_shape(image_shape)}; those of {data.name} are "
            f"{_shape(data.image_shape)}",
            "set the model's image size or the recipe's `data.resize`, or choose other data",
        )
    if classes is not None and classes != data.classes:
        raise SetupProblem(
            f"{model} tells {classes} classes apart; {data.name} has {data.classes}",
            f"set the model's number of classes to {data.classes}",
        )


def _check_fit(run: Run, dist: Dist) -> None:
    data, batch = run.data, run.recipe.data.batch
    if run.recipe.data.name != data.name:
        raise SetupProblem(f"the recipe is for `{run.recipe.data.name}`, the data is {data.name}")
    expect_fit(run.name, run.image_shape, run.classes, data)
    if batch % dist.world:
        raise SetupProblem(f"`batch` = {batch} cannot be shared by {dist.world} processes evenly")


def _open_folder(run: Run, dist: Dist, stack: ExitStack) -> RunFolder | None:
    """Hold the run folder in the main process; the others wait: the model is built from it."""
    folder: RunFolder | None = None
    problem: RunProblem | None = None
    if dist.main:
        try:
            folder = stack.enter_context(open_run_folder(run))
        except RunProblem as error:
            problem = error
    if dist.any(problem is not None):
        raise problem or SetupProblem("the main process cannot use the run folder, and says why")
    return folder


def _shape(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{height}x{width} pixels, {channels} channel{'s' if channels > 1 else ''}"


class _Training:
    """A run in progress. `log` and `folder` exist in the main process, which alone writes."""

    def __init__(
        self,
        run: Run,
        schedule: Schedule,
        dist: Dist,
        stop: StopRequest,
        stack: ExitStack,
        folder: RunFolder | None,
    ) -> None:
        self.folder = folder
        self.run, self.schedule, self.dist, self.stop = run, schedule, dist, stop
        self.data = run.data.to(dist.device)
        self.state = initial_state(run, dist.device)
        self.failed_saves = 0

        stream = run.output or sys.stdout
        progress = Progress(stream, schedule, run.recipe.data.batch, silent=not dist.main)
        self.progress = stack.enter_context(progress)
        self.store = CheckpointStore(run.directory / CHECKPOINTS, self.progress.say)
        checkpoint = self._find_checkpoint()
        if checkpoint:
            self.state.restore(checkpoint, run)
            self.progress.say(f"resuming after step {checkpoint.step:,} from {checkpoint.path}")
        self.resumed_from = checkpoint.step if checkpoint else None
        self.saved_step = self.resumed_from
        self.net = dist.wrap(self.state.model)
        self.log = None
        if dist.main:
            log = MetricsLog(run.directory / METRICS, self.state.step)
            self.log = stack.enter_context(log)

    def finish(self) -> None:
        """Take the steps that are left, evaluating and saving when due."""
        schedule, state = self.schedule, self.state
        if schedule.evaluates_at(state.step) and self._evaluation_is_missing():
            self._evaluate()
        end = min(schedule.total, self.run.stop_after or schedule.total)
        while state.step < end:
            if self.dist.any(bool(self.stop)):
                self._save_and_stop()
            self._advance()
            if self.folder:
                self.folder.note_kernels()
            evaluation = self._evaluate() if schedule.evaluates_at(state.step) else None
            if evaluation or state.step % schedule.steps_per_epoch == 0:
                self.progress.line(state.step, evaluation)
            if schedule.saves_at(state.step) or self._is_best():
                self._save(required=state.step == end)
        self._save(required=True)

    def result(self, seconds: float) -> Result:
        """How the run ended."""
        evaluations = self.log.evaluations if self.log else []
        best = self.log.best() if self.log else None
        return Result(
            directory=self.run.directory,
            step=self.state.step,
            finished=self.state.step == self.schedule.total,
            resumed_from=self.resumed_from,
            last=_evaluation(evaluations[-1]) if evaluations else None,
            best=_evaluation(best) if best else None,
            best_step=best["step"] if best else None,
            seconds=seconds,
        )

    def _find_checkpoint(self) -> Checkpoint | None:
        """The checkpoint to resume from, after clearing up what crashes left."""
        run, store = self.run, self.store
        if run.resume == "never" and store.steps():
            raise SetupProblem(
                f"{run.directory} already holds {store.path(store.steps()[-1]).name}",
                "resume it with --resume auto, or choose another --run",
            )
        if self.dist.main:
            with storing(store.directory):
                store.sweep()
        self.dist.wait()
        checkpoint = store.load_latest()
        if checkpoint is None and run.resume == "must":
            raise SetupProblem(f"{run.directory} has no checkpoint to resume from")
        self.dist.wait()
        if checkpoint and self.dist.main:
            with storing(store.directory):
                store.set_aside(after=checkpoint.step)
        return checkpoint

    def _advance(self) -> None:
        """Take one step, whose every ingredient follows from its number."""
        run, state, dist = self.run, self.state, self.dist
        step = state.step
        batch = batch_at(step, self.data, run.recipe)
        reseed(run.recipe.seed, Purpose.DROPOUT, step, dist.rank)
        rate = self.schedule.learning_rate(step)
        set_learning_rate(state.optimizer, rate)
        redraw_features(state.model, seed=run.recipe.seed, step=step)
        images, targets = dist.share(batch.images), dist.share(batch.targets)
        outcome = take_step(self.net, state.optimizer, images, targets, run.recipe, dist)
        if not outcome.finite:
            raise report_divergence(run.directory, step, state.model, batch, run.recipe, outcome)
        state.step += 1
        if state.average:
            state.average.update(state.model, state.step)
        self._record_step(outcome, rate)

    def _record_step(self, outcome: StepOutcome, rate: float) -> None:
        step, total = self.state.step, self.schedule.total
        self.progress.step(step, outcome)
        if self.log and (step % max(1, total // MAX_TRAIN_RECORDS) == 0 or step == total):
            self.log.append("train", step, {"epoch": self._epoch(), **asdict(outcome), "lr": rate})

    def _evaluate(self) -> Evaluation:
        """Evaluate on the test split and record it; stops instead if a signal comes between."""
        evaluation = evaluate(
            self.state.evaluated_model,
            self.data,
            precision=self.run.recipe.precision,
            dist=self.dist,
            stopped=lambda: bool(self.stop),
        )
        if evaluation is None:
            self._save_and_stop()
        if not math.isfinite(evaluation.loss):
            raise Diverged(
                f"the test loss is {evaluation.loss} after step {self.state.step}",
                "lower `lr`, lengthen `warmup`, or set `clip`",
            )
        if self.log:
            weights = "average" if self.state.average else "model"
            values = {"epoch": self._epoch(), **asdict(evaluation), "weights": weights}
            self.log.append("eval", self.state.step, values)
        return evaluation

    def _evaluation_is_missing(self) -> bool:
        """Whether a cut came between the newest checkpoint and the evaluation due at its step."""
        found = self.log and any(e["step"] == self.state.step for e in self.log.evaluations)
        return self.dist.any(self.log is not None and not found)

    def _is_best(self) -> bool:
        best = self.log.best() if self.log else None
        return best is not None and best["step"] == self.state.step

    def _epoch(self) -> int:
        """The epoch, counted from 1, that the newest step belongs to."""
        return (self.state.step - 1) // self.schedule.steps_per_epoch + 1

    def _save(self, *, required: bool) -> None:
        """Save the state unless it is saved already.

        Raises:
            StorageProblem: Saving failed and is `required`, or failed for the third time in a row:
                hours of training that nothing keeps would be wasted.
        """
        state = self.state
        if self.log is None or self.saved_step == state.step:
            return
        best = self.log.best()
        about = describe_state(self.run, state.step, self.schedule.steps_per_epoch, self.dist.world)
        try:
            self.log.sync()  # the records of a step must not be younger than its checkpoint
            self.store.save(state.step, state.tensors(), about, best["step"] if best else None)
        except StorageProblem as problem:
            self.failed_saves += 1
            if required or self.failed_saves >= MAX_FAILED_SAVES:
                raise
            self.progress.say(f"warning: {problem.message}")
            return
        self.saved_step = state.step
        self.failed_saves = 0

    def _save_and_stop(self) -> NoReturn:
        self._save(required=True)
        raise Stopped(self.stop.signal or Signals.SIGTERM, self.state.step)


def _evaluation(record: Record) -> Evaluation:
    return Evaluation(record["top1"], record["top5"], record["loss"], record["images"])
