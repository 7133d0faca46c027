"""Random features that are drawn anew in training."""

from __future__ import annotations

import torch
from torch import nn

from linvit_runtime.init import orthogonal_rows
from linvit_runtime.layers import redraw_periods
from linvit_runtime.train.keys import Purpose, generator


@torch.no_grad()
def redraw_features(model: nn.Module, *, seed: int, step: int) -> int:
    """Draw those random features of `model` anew that are due before training step `step`.

    Call it before every step, outside of any compiled graph. The numbers follow from `seed`, `step`
    and the place of the buffer in the model alone: every process of a run draws the same ones, and
    a run that is resumed draws what it would have drawn. Nothing happens before step 0, at steps
    that are no multiple of a buffer's period, and in evaluation mode.

    Args:
        model: a generated module, perhaps inside others; its buffers are changed in place.
        seed: of the run.
        step: the step that follows, counted from 0 over all epochs.

    Returns:
        How many buffers were drawn.
    """
    places = [
        (module, name, period)
        for module in model.modules()
        for name, period in redraw_periods(module).items()
    ]
    due = [
        (place, module, name)
        for place, (module, name, period) in enumerate(places)
        if module.training and period and step and step % period == 0
    ]
    for place, module, name in due:
        buffer = module.get_buffer(name)
        draw = generator(seed, Purpose.FEATURES, step, place)
        buffer.copy_(orthogonal_rows(len(buffer), buffer.shape[1], draw))
    return len(due)
