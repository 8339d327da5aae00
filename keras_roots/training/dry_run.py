"""Everything that can be checked before a run, without training."""

import time
from collections.abc import Callable
from pathlib import Path

import keras

from keras_roots.cost import cost
from keras_roots.data import input_pipeline, sources
from keras_roots.reporting import Table, require_writable
from keras_roots.requirements import require_tensorflow_or_jax
from keras_roots.training import network, plan, strategies, workdir
from keras_roots.training.config import Config

_BATCHES = 2


def run(config: Config, work_directory: str, report: Callable[[str], object] = print) -> None:
    """Checks the data, devices, memory, disk and work directory, and reports the plan.

    Args:
        report: takes each line.

    Raises:
        ValueError, FileNotFoundError, ModuleNotFoundError: what is not right.
    """
    require_tensorflow_or_jax("Training")
    folder = Path(work_directory).expanduser()
    on_jax = keras.backend.backend() == "jax"
    replicas = 1 if on_jax else strategies.replicas(config)
    input_pipeline.check(config, replicas)
    source = sources.open_source(config)
    begun = workdir.check(folder, config, source)
    require_writable(folder)
    sources.check_readable(source)
    model = network.for_training(config, len(source.class_names))
    needs = plan.resources(config, model, folder, replicas)
    steps = input_pipeline.steps_until(config.epochs, config, source.train)
    steps = min(steps, config.max_steps or steps)
    words = f"{replicas} replica{'s' if replicas > 1 else ''} ({config.strategy})"
    if on_jax:
        from keras_roots.training.on_jax import loop

        loop.require_memory(source)
        words = loop.describe_device()
    for line in plan.lines(config, source, words, model, steps):
        report(line)
    rates = ", ".join(
        f"{rate:.4g} (epoch {epoch:g})" for epoch, rate in plan.learning_rates(config, source)
    )
    report(f"Learning rates: {rates}")
    report(_input_of_jax(source) if on_jax else _input_in_words(config, source, replicas))
    memory, free = needs["memory_of_a_replica"], needs["memory_free"]
    report(
        f"Memory of a replica, estimated: {memory / 1e9:.2f} GB"
        + (f" (this machine has {free / 1e9:.2f} GB free)" if free else "")
    )
    report(
        f"Disk: {needs['disk_needed'] / 1e9:.2f} GB for checkpoints, "
        f"{needs['disk_free'] / 1e9:.2f} GB free"
    )
    state = "an earlier run, which would go on" if begun else "new"
    report(f"Work directory: {folder}, {state}\n")
    report(_cost(config, model, steps).text())
    report("\nNothing was trained (--dry_run).")


def _input_in_words(config: Config, source: sources.Source, replicas: int) -> str:
    """Some batches, read as in training."""
    started = time.perf_counter()
    share = input_pipeline.Share(replicas=replicas)
    batches = input_pipeline.train_batches(config, source.train, 0, _BATCHES, share, careful=True)
    unread = []
    images = 0
    for batch in batches.take(_BATCHES):
        images += len(batch["weights"])
        examples = batch["examples"].numpy()[batch["weights"].numpy() == 0]
        unread += [source.train.describe(int(number)) for number in examples]
    words = f"Input: {images} images read in {time.perf_counter() - started:.1f} s"
    if unread and config.strict:
        raise ValueError(f"The image '{unread[0]}' cannot be read (strict=True).")
    return words + (f", but {len(unread)} of them, such as {unread[0]}" if unread else "")


def _input_of_jax(source: sources.Source) -> str:
    needed = sum(split.images.nbytes for split in (source.train, source.validation))
    return f"Input: all images in the device's memory, {needed / 1e9:.2f} GB"


def _cost(config: Config, model, updates: int) -> Table:
    counts, images = cost(model), updates * config.batch_size
    rows = [
        ("parameters", f"{counts.parameters:,}"),
        ("multiply-accumulates of an image", f"{counts.macs:,}"),
        # Forward, and two products of the same size for the gradients.
        ("multiply-accumulates of the training", f"{3.0 * counts.macs * images:.3g}"),
        ("images", f"{images:,}"),
        ("updates", f"{updates:,}"),
    ]
    return Table(("cost", ""), rows)
