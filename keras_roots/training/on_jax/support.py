"""What of a configuration the JAX backend trains, and what it refuses."""

import contextlib
import dataclasses
import importlib.util
from collections.abc import Mapping

import numpy as np

from keras_roots.data import sources
from keras_roots.training.config import Config

_ONE_DEVICE = "on JAX a run has one device"
_SMALL = "'arrays', or a prepared data set of small images, such as 'cifar10'"
_OF_FULL = "it is of augmentation='full', which JAX has not"

# Fields that must have their defaults, and why.
DEFAULT_ONLY: Mapping[str, str] = {
    "strategy": _ONE_DEVICE,
    "devices": _ONE_DEVICE,
    "logical_cpus": _ONE_DEVICE,
    "accumulation": "on JAX a batch is computed as a whole",
    "min_area": _OF_FULL,
    "color_jitter": _OF_FULL,
    "lighting": _OF_FULL,
    "rand_augment": "JAX has no RandAugment here",
    "rand_augment_factor": "JAX has no RandAugment here",
    "mixup": "JAX has no mixup here",
    "cutmix": "JAX has no CutMix here",
}
# Values that are refused.
_REFUSED_VALUES: Mapping[str, Mapping[str, str]] = {
    "augmentation": {"full": "JAX has crops and mirroring: 'paper', or 'none'"},
    "precision": {"float16": "JAX does not scale the loss here: 'bfloat16', or 'float32'"},
    "dataset": {
        sources.FOLDERS: f"images must fit in the device's memory: {_SMALL}",
        sources.SYNTHETIC: _SMALL,
    },
}


def check(config: Config) -> None:
    """Raises a ValueError for what TensorFlow trains and JAX does not."""
    standard = {field.name: field.default for field in dataclasses.fields(Config)}
    reasons = {
        name: why for name, why in DEFAULT_ONLY.items() if getattr(config, name) != standard[name]
    }
    for name, values in _REFUSED_VALUES.items():
        if getattr(config, name) in values:
            reasons[name] = values[getattr(config, name)]
    if reasons:
        listed = "; ".join(f"{n}={getattr(config, n)!r}: {why}" for n, why in reasons.items())
        raise ValueError(
            f"Keras on JAX does not train this. {listed}. Change that, or set "
            "KERAS_BACKEND=tensorflow."
        )
    if config.padding and not all(0 <= round(value) <= 255 for value in config.mean):
        raise ValueError(
            "Images are padded with the mean colour: expected mean of 0 to 255. "
            f"Received: {config.mean}"
        )


def require_reader(config: Config) -> None:
    """Readies TensorFlow, where that is what reads the data.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    name = config.dataset
    if name in (sources.ARRAYS, sources.DIGITS):
        return
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            f"The data set {name} is read by tensorflow-datasets with TensorFlow, which is not "
            f"installed. Where it is, `keras-roots arrays {name} FOLDER` writes files that need "
            "neither: take dataset='arrays' and data_dir=FOLDER."
        )
    import tensorflow as tf

    # Else it would take a GPU's memory. It can no longer be told once it has computed.
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")


def check_images(config: Config, images: np.ndarray) -> None:
    """Raises a ValueError unless they, [examples, height, width, 3], need no resizing."""
    shorter = min(images.shape[1:3])
    if config.resize != shorter:
        raise ValueError(
            f"The images are of {images.shape[1]}x{images.shape[2]} pixels, and on JAX they are "
            f"cropped but not resized: expected resize={shorter}. Received: resize={config.resize}"
        )
