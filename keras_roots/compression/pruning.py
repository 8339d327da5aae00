"""Pruning by magnitude: the smallest weights of each kernel become 0.

Source: Zhu and Gupta, "To prune, or not to prune", arXiv:1710.01878, as
tensorflow-model-optimization has it.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.fine_tuning import FineTuning, fine_tune
from keras_roots.compression.legacy import forgotten, libraries, require
from keras_roots.compression.selection import DEFAULT, compressed
from keras_roots.reporting import silent

Schedule = Literal["polynomial", "constant", "2:4"]
SCHEDULES: tuple[Schedule, ...] = ("polynomial", "constant", "2:4")
# Of the updates, until the last weights are pruned; in the rest the others make up for it.
_PART = 0.6
_MASKS = 20
_BLOCK = 4


def check(sparsity: float, schedule: str) -> None:
    """Raises a ValueError unless these are a sparsity and a schedule."""
    if not 0 < sparsity < 1:
        raise ValueError(
            f"Expected a sparsity above 0 and below 1: the share of weights that become 0. "
            f"Received: {sparsity}"
        )
    if schedule not in SCHEDULES:
        raise ValueError(
            f"Expected a schedule of pruning of: {', '.join(SCHEDULES)}. Received: {schedule!r}"
        )
    if schedule == "2:4" and sparsity != 0.5:
        raise ValueError(f"2:4 is a sparsity of 0.5. Received: {sparsity}")


def prune(
    model: keras.Model,
    tuning: FineTuning,
    *,
    sparsity: float = 0.5,
    schedule: Schedule = "polynomial",
    skip: str | Sequence[str] = DEFAULT,
    folder: Path | None = None,
    report: Callable[[str], object] = silent,
) -> keras.Model:
    """Makes a share of each kernel's weights 0, while the others are fine-tuned.

    Args:
        model: a classifier of Keras 3, functional or Sequential, whose output
            is a softmax or logits. It is not changed.
        tuning: the data, and how to fine-tune.
        sparsity: of each kernel that is pruned, the share of weights that
            become 0.
        schedule: "polynomial": more and more until 0.6 of the updates;
            "constant": all at once; "2:4": of each 4 weights of neighbouring
            input channels 2, all at once. Kernels of fewer than 4 input
            channels a group, or of no multiple of 4, are left alone then.
        skip: names of layers to leave alone; by default the first convolution
            and the classifier.
        folder: for checkpoints; see `fine_tuning.fine_tune`.
        report: takes lines of progress.

    Returns:
        A copy of the model with these weights.

    Raises:
        ValueError: an argument is not as above, or tf-keras cannot represent
            the model.
        ModuleNotFoundError: the extra "compression" is not installed.
        DivergedError, Interrupted: see `fine_tuning.fine_tune`.
        RuntimeError: not as many weights were pruned as should.
    """
    require("Pruning")
    check(sparsity, schedule)
    tuning.check_fits(model)
    tfmot = libraries().tfmot.sparsity.keras
    with forgotten():
        bridge = to_legacy(model, scores=True)
        wanted = compressed(bridge, skip)
        if schedule == "2:4":
            wanted = {
                name: path
                for name, path in wanted.items()
                if bridge.legacy.get_layer(name).kernel.shape[-2] % _BLOCK == 0
            }
            if not wanted:
                raise ValueError(f"No kernel of '{model.name}' has a multiple of 4 input channels.")
        pruning = with_masks(bridge.legacy, set(wanted), sparsity, schedule, tuning.steps)
        wrappers = [layer for layer in pruning.layers if hasattr(layer, "pruning_vars")]
        fine_tune(pruning, tuning, title="Pruning", folder=folder, report=report)
        for wrapper in wrappers:
            wrapper.pruning_obj.weight_mask_op()  # The last update has moved the zeros.
        for wrapper in wrappers:
            _check_pruned(wanted[wrapper.layer.name], wrapper.layer.kernel.numpy(), sparsity)
        return bridge.back(tfmot.strip_pruning(pruning))


def with_masks(model: Any, names: set[str], sparsity: float, schedule: Schedule, steps: int) -> Any:
    """The tf-keras model in which these layers are pruned as it is trained, on the same weights."""
    tfmot = libraries().tfmot.sparsity.keras
    how = _parameters(tfmot, sparsity, schedule, steps)

    def wrap(layer: Any) -> Any:
        return tfmot.prune_low_magnitude(layer, **how) if layer.name in names else layer

    pruning = libraries().keras.models.clone_model(model, clone_function=wrap)
    for layer in pruning.layers:
        if hasattr(layer, "pruning_vars"):
            layer.pruning_step.assign(0)  # Each update counts on from here.
    return pruning


def _parameters(tfmot: Any, sparsity: float, schedule: Schedule, steps: int) -> dict[str, Any]:
    end = max(1, math.floor(_PART * steps))
    frequency = max(1, end // _MASKS)
    if schedule == "polynomial":
        end -= end % frequency
        return {
            "pruning_schedule": tfmot.PolynomialDecay(
                0.0, sparsity, begin_step=0, end_step=end, frequency=frequency
            )
        }
    found = {
        # From the first update on, so that the others have most of them to make up for it.
        "pruning_schedule": tfmot.ConstantSparsity(sparsity, begin_step=1, frequency=frequency)
    }
    return found if schedule == "constant" else {**found, "sparsity_m_by_n": (2, _BLOCK)}


def _check_pruned(name: str, kernel: np.ndarray, sparsity: float) -> None:
    """Raises a RuntimeError unless as many weights are 0 as should be, to rounding."""
    zeros = int(np.sum(kernel == 0))
    if zeros + 1 < min(sparsity * kernel.size, kernel.size - 1):
        raise RuntimeError(
            f"{zeros:,} of the {kernel.size:,} weights of '{name}' are 0 after pruning, which are "
            f"fewer than {sparsity:.0%}: there were too few updates for the schedule. Give more "
            "epochs, or schedule='constant'."
        )
