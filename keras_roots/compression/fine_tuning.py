"""Training a compressed network a little more, on the data it was trained on.

The data, their augmentation, the schedule of the learning rate and the
optimizer are those of `keras_roots.training`. The network is one of tf-keras,
with tensorflow-model-optimization's wrappers, so the update is made here: the
same stochastic gradient descent, on one device and in float32.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.compression import resumable
from keras_roots.compression.fast_convolutions import fast
from keras_roots.compression.kept import kept_class
from keras_roots.compression.legacy import libraries
from keras_roots.data import (
    Source,
    check_preprocessing,
    input_pipeline,
    preprocessed,
    sources,
)
from keras_roots.reporting import silent
from keras_roots.surgery import without_auxiliary_heads
from keras_roots.training.config import Config, replaced
from keras_roots.training.data import open_source
from keras_roots.training.steps import inputs_and_targets, summed

_GENTLER = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class FineTuning:
    """On what a network is fine-tuned, and how.

        FineTuning.of(training.from_file("runs/r16/config.json"), epochs=2)
        FineTuning.of_arrays(images, labels, epochs=2)

    Attributes:
        config: of a training; what it says of a network is not looked at.
        source: its data.
        preprocessing: what the network takes: "none", values of 0 to 255; or
            as keras.applications has it: "torch", "caffe", "tf".
    """

    config: Config
    source: Source
    preprocessing: str = "none"

    def __post_init__(self):
        check_preprocessing(self.preprocessing)

    @classmethod
    def of(
        cls,
        config: Config,
        *,
        epochs: int = 2,
        learning_rate: float | None = None,
        preprocessing: str = "none",
    ) -> "FineTuning":
        """As a network was trained, but for fewer epochs and with smaller steps.

        Args:
            config: with which it was trained.
            epochs: passes over the training images.
            learning_rate: at first, for BASE_BATCH_SIZE images; from there a
                cosine leads to 0. By default a tenth of the configuration's.
            preprocessing: see the class.

        Raises:
            ValueError, FileNotFoundError, ModuleNotFoundError: the data are
                not there or not right, or an argument is out of range.
        """
        rate = _GENTLER * config.learning_rate if learning_rate is None else learning_rate
        config = replaced(
            config,
            {
                "epochs": epochs,
                "learning_rate": rate,
                "schedule": "cosine",
                "warmup_epochs": 0.0,
                # One device, one piece, float32: as tensorflow-model-optimization has it.
                "strategy": "none",
                "devices": 0,
                "logical_cpus": False,
                "accumulation": 1,
                "precision": "float32",
                "ema_decay": 0.0,
                "max_steps": 0,
                "jit_compile": False,
            },
        )
        input_pipeline.check(config, 1)
        source = open_source(config)
        sources.check_readable(source)
        return cls(config, source, preprocessing)

    @classmethod
    def of_arrays(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        classes: int | None = None,
        epochs: int = 2,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        mirror: bool = False,
        preprocessing: str = "none",
        **config: Any,
    ) -> "FineTuning":
        """On images in memory.

        Args:
            images: uint8 [examples, size, size, 3], 0 to 255.
            labels: integers [examples], from 0.
            classes: how many there are; by default as many as the labels say.
            epochs, batch_size: passes over the images, images of an update.
            learning_rate: at first; from there a cosine leads to 0.
            mirror: whether an image keeps its class when mirrored.
            preprocessing: see the class.
            **config: other fields of `training.Config`.

        Raises:
            ValueError: an argument is not as above.
        """
        source = sources.array_source(images, labels, classes)
        return cls(
            Config(
                **{
                    "dataset": "arrays",
                    "image_size": images.shape[1],
                    "resize": images.shape[1],
                    "augmentation": "paper" if mirror else "none",
                    "epochs": epochs,
                    "batch_size": min(batch_size, len(images)),
                    "base_batch_size": min(batch_size, len(images)),
                    "learning_rate": learning_rate,
                    "warmup_epochs": 0.0,
                    **config,
                }
            ),
            source,
            preprocessing,
        )

    @property
    def steps(self) -> int:
        """Number of updates."""
        return input_pipeline.steps_until(self.config.epochs, self.config, self.source.train)

    def inputs(self, images):
        """Images of 0 to 255 as the network takes them, of one batch."""
        return preprocessed(images, self.preprocessing)

    def check_fits(self, model: keras.Model) -> None:
        """Raises a ValueError unless these are images and classes of the model's."""
        model = without_auxiliary_heads(model)
        size, classes = self.config.image_size, len(self.source.class_names)
        taken = [tuple(tensor.shape[1:]) for tensor in model.inputs]
        made = [tuple(tensor.shape[1:]) for tensor in model.outputs]
        if taken != [(size, size, 3)] or made != [(classes,)]:
            raise ValueError(
                f"Fine-tuning is on images of ({size}, {size}, 3) and {classes} classes, of "
                f"{self.source.name}. '{model.name}' takes {_listed(taken)} and gives "
                f"{_listed(made)}. Give the data and the configuration that it was trained with."
            )

    def calibration_images(self, count: int) -> np.ndarray:
        """The first images that an update takes, as the network takes them, augmented.

        Returns:
            float32 [images, height, width, channels], at most `count`.
        """
        found: list[np.ndarray] = []
        last = min(-(-count // self.config.batch_size), self.steps)
        for batch in resumable.batches(self.config, self.source, 0, last):
            images, _ = inputs_and_targets(batch, self.config, len(self.source.class_names))
            is_read = batch["weights"].numpy() > 0
            found.append(np.asarray(self.inputs(images))[is_read])
        return np.concatenate(found)[:count]


def _listed(shapes) -> str:
    return " and ".join(map(str, shapes)) or "nothing"


def fine_tune(
    model: Any,
    tuning: FineTuning,
    *,
    title: str,
    folder: Path | None = None,
    report: Callable[[str], object] = silent,
) -> None:
    """Trains a tf-keras model in place.

    Args:
        model: gives logits, [batch, classes]; may hold
            tensorflow-model-optimization's wrappers.
        tuning: on what, and how.
        title: what is done, for the progress bar.
        folder: where checkpoints go; an interrupted call goes on from the
            last one there. None: nothing is written.
        report: takes a line after each epoch.

    Raises:
        DivergedError: the loss is no longer finite.
        Interrupted: SIGTERM or SIGINT came, and the state has been written.
    """
    with fast(model):
        resumable.train(
            Trainee(model, tuning),
            tuning.config,
            tuning.source,
            title=title,
            folder=folder,
            report=report,
        )


class Trainee:
    """What an update of a tf-keras model is; see `resumable.Trainee`."""

    def __init__(self, model: Any, tuning: FineTuning):
        import tensorflow as tf

        self.model, self.tuning = model, tuning
        self._rate = tf.Variable(0.0, trainable=False)
        config = tuning.config
        # The one of old: it makes its state for the variables that have a gradient, of which
        # the clustering's own have none.
        self.optimizer = libraries().keras.optimizers.legacy.SGD(
            lambda: self._rate, momentum=config.momentum, nesterov=config.nesterov
        )
        self._seeds = _seeds(model)
        resumable.seed(self._seeds, config.seed)

    def update(self, batch, learning_rate):
        import tensorflow as tf

        config = self.tuning.config
        self._rate.assign(learning_rate)
        images, targets = inputs_and_targets(batch, config, len(self.tuning.source.class_names))
        weights = batch["weights"]
        with tf.GradientTape() as tape:
            logits = self.model(self.tuning.inputs(images), training=True)
            losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
            loss = tf.reduce_sum(losses * weights) / tf.maximum(tf.reduce_sum(weights), 1.0)
            loss = tf.add_n([loss, *self.model.losses])
        variables = _unique(self.model.trainable_variables)
        found = zip(tape.gradient(loss, variables), variables, strict=True)
        pairs = [(gradient, variable) for gradient, variable in found if gradient is not None]
        gradients = [
            gradient + config.weight_decay * variable if _is_kernel(variable) else gradient
            for gradient, variable in pairs
        ]
        if config.clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, config.clip_norm)
        self.optimizer.apply_gradients(
            zip(gradients, [variable for _, variable in pairs], strict=True)
        )
        return summed(losses, logits, tf.argmax(targets, axis=-1), weights)

    def variables(self) -> list[Any]:
        """All that an update changes."""
        return _unique([*self.model.variables, *self._seeds, *self.optimizer.variables()])


def _seeds(model: Any) -> list[Any]:
    """The states of the random numbers that the model's layers draw."""
    inner = [getattr(layer, "layer", layer) for layer in model.layers]
    return [seed for layer in inner if isinstance(layer, kept_class()) for seed in layer.seeds]


def _unique(variables) -> list[Any]:
    return list({id(variable): variable for variable in variables}.values())


def _is_kernel(variable) -> bool:
    return variable.name.partition(":")[0].rpartition("/")[2] in ("kernel", "depthwise_kernel")
