"""What a run will do and need, told before it starts."""

import os
import shutil
from pathlib import Path
from typing import Any

import keras

from keras_roots.cost import cost
from keras_roots.data import input_pipeline
from keras_roots.data.sources import Source
from keras_roots.training import optimization
from keras_roots.training.config import Config
from keras_roots.training.history import can_plot

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def lines(
    config: Config, source: Source, devices: str, model: keras.Model, steps: int
) -> list[str]:
    """The run in some lines.

    Args:
        devices: in words.
        model: the network for training.
        steps: number of updates.
    """
    counts = cost(model)
    per_epoch = source.train.size / config.batch_size
    every = f"every {config.evaluate_every} epochs" if config.evaluate_every > 1 else "every epoch"
    left_out = source.train.left_out + source.validation.left_out
    beside = ", ".join(
        f"{count} {suffix or 'without suffix'}" for suffix, count in left_out.items()
    )
    found = [
        f"Network: {model.name}, {counts.parameters:,} parameters, {counts.macs:,} "
        f"multiply-accumulates an image of {config.image_size}x{config.image_size}",
        f"Data: {source.name}, {len(source.class_names):,} classes, {source.train.size:,} images "
        f"to train on, {source.validation.size:,} held out, evaluated {every}"
        + (f"; beside them files that are no images: {beside}" if beside else ""),
        f"Updates: {steps:,} ({per_epoch:,.1f} an epoch) of {config.batch_size} images, "
        f"on {devices}, {config.precision}",
        f"Learning rate: {config.peak_learning_rate:.4g} at its highest, {config.schedule}, "
        f"{config.warmup_epochs:g} epochs of warm-up",
    ]
    if not can_plot():
        found.append(
            "Learning curve: not drawn, for matplotlib is not installed "
            "(pip install 'keras_roots[plots]')"
        )
    return found


def memory(config: Config, model: keras.Model, replicas: int) -> int:
    """An estimate of the bytes that a replica needs: weights and feature maps.

    Feature maps are counted once for each layer that makes one, which are kept
    for the gradients; what a device's libraries need beside is not.
    """
    weights = 4 * sum(_size(variable.shape) for variable in model.variables)
    copies = 3 + bool(config.ema_decay)  # Gradients and momentum, too.
    images = config.batch_size // replicas // config.accumulation
    values = 0
    for layer in model._flatten_layers(include_self=False):
        for node in getattr(layer, "_inbound_nodes", ()):
            values += sum(_size(tensor.shape[1:]) for tensor in keras.tree.flatten(node.outputs))
    return copies * weights + images * values * _BYTES[config.precision]


def checkpoint_bytes(config: Config, model: keras.Model) -> int:
    """Of the checkpoints, at most: the last ones, the best, and one being written."""
    variables = 4 * sum(_size(v.shape) for v in model.variables)
    one = variables * (2 + bool(config.ema_decay))
    return one * (config.keep_checkpoints + 2) + 3 * variables


def resources(config: Config, model: keras.Model, workdir: Path, replicas: int) -> dict[str, Any]:
    """What is needed, and what there is, in bytes; what is not known is None.

    Raises:
        ValueError: the disk has not enough room.
    """
    existing = next(p for p in (workdir, *workdir.absolute().parents) if p.is_dir())
    free, needed = shutil.disk_usage(existing).free, checkpoint_bytes(config, model)
    present = sum(path.stat().st_size for path in workdir.glob("*checkpoint*/*"))
    if needed - present > free:
        raise ValueError(
            f"The checkpoints need {needed / 1e9:.2f} GB, and the disk of '{existing}' has "
            f"{free / 1e9:.2f} GB left. Give another work directory, or fewer keep_checkpoints."
        )
    return {
        "disk_needed": needed,
        "disk_free": free,
        "memory_of_a_replica": memory(config, model, replicas),
        "memory_free": free_memory(),
    }


def learning_rates(config: Config, source: Source) -> list[tuple[float, float]]:
    """The learning rate at some epochs."""
    per_epoch = source.train.size / config.batch_size
    steps = input_pipeline.steps_until(config.epochs, config, source.train)
    schedule = optimization.learning_rate(config, per_epoch, steps)
    at = sorted({0.0, config.warmup_epochs, *(config.epochs * n / 4 for n in range(1, 5))})
    return [(e, float(schedule(min(round(e * per_epoch), steps - 1)))) for e in at]


def _size(shape) -> int:
    number = 1
    for length in shape:
        number *= length or 1
    return number


def free_memory() -> int | None:
    """Bytes of this machine, where it says so."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
