"""How fast the input pipeline is, beside what it cannot do without: decoding.

All candidates read the same files in the same order on all cores, in turns.
"decode" decodes whole images; "crop" only what the augmentation crops, which
is the least that any pipeline has to do.
"""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from keras_roots.benchmark.measured import SPREAD
from keras_roots.data import images, input_pipeline, sources
from keras_roots.reporting import Table, numbers, silent
from keras_roots.requirements import require_tensorflow
from keras_roots.timing import Timings, interleaved
from keras_roots.training.config import Config

AUGMENTATIONS = ("paper", "full")


def input_speed(
    folder: str | os.PathLike,
    config: Config,
    *,
    count: int = 2000,
    rounds: int = 10,
    report: Callable[[str], object] = silent,
) -> dict[str, Timings]:
    """Times the ways to read photographs.

    Args:
        folder: photographs, in it or below; they are read over and over.
        config: image size, resizing and batch size; and what else is to be
            timed of it, such as rand_augment, on top of "paper" and "full".
        count: images of a turn.
        rounds: turns of each.
        report: see `measure.interleaved`.

    Returns:
        Seconds an image, by candidate.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no JPEGs, or an argument is not as above.
    """
    require_tensorflow("The benchmark")
    import tensorflow as tf

    split = sources.images_below(Path(folder), (".jpg", ".jpeg"))
    updates = max(1, count // config.batch_size)
    number = updates * config.batch_size
    configs = {
        name: dataclasses.replace(config, augmentation=name, padding=0) for name in AUGMENTATIONS
    }

    def examples(part: Callable):
        def of_position(position):
            place = position % split.size
            order = tf.constant([config.seed, 0], tf.int64)
            content, _ = split.read(
                tf.random.experimental.index_shuffle(place, order, split.size - 1)
            )
            return part(content, tf.stack([order[0], position]))

        return tf.data.Dataset.range(number).map(
            of_position, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )

    def whole(content, _):
        return tf.io.decode_jpeg(content, channels=3)

    def cropped_by(config: Config):
        def part(content, seed):
            uniforms = tf.random.stateless_uniform([5 * images.ATTEMPTS], seed)
            box = input_pipeline.box(tf.io.extract_jpeg_shape(content), config, uniforms)
            return tf.io.decode_and_crop_jpeg(content, box, channels=3)

        return part

    candidates = {"decode": examples(whole)}
    for name, each in configs.items():
        candidates[f"crop, {name}"] = examples(cropped_by(each))
        candidates[f"pipeline, {name}"] = input_pipeline.train_batches(
            each, split, 0, updates, input_pipeline.Share()
        )

    def consumed(dataset):
        count_elements = tf.function(
            lambda: dataset.reduce(tf.constant(0, tf.int64), lambda n, *_: n + 1)
        )
        return lambda: int(count_elements())

    timings = interleaved(
        {name: consumed(dataset) for name, dataset in candidates.items()},
        rounds=rounds,
        report=report,
    )
    return {
        name: Timings(tuple(seconds / number for seconds in each.seconds))
        for name, each in timings.items()
    }


def table(timings: dict[str, Timings], cores: int) -> Table:
    """Images per second and core, and relative to decoding the same crops."""
    rows = []
    for name, each in timings.items():
        kind, _, augmentation = name.partition(", ")
        rates = [1 / (each.percentile(p) * cores) for p in (50, 90, 10)]
        crop = timings[f"crop, {augmentation}"].median if kind == "pipeline" else None
        rows.append(
            {
                "what": name,
                f"images/s and core: median {SPREAD}": (
                    f"{rates[0]:,.0f} ({numbers.interval(rates[1:], ',.0f')})"
                ),
                "of crop alone": "" if crop is None else f"{crop / each.median:.2f}",
                "cores for 1,000 images/s": f"{1000 / rates[0]:.2f}",
            }
        )
    return Table.of(rows)
