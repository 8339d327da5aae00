"""The record of a training run: every number that its result depends on.

A configuration is data. Files under `examples/configs/` make the paper's and
say what each has reached; a work directory keeps its own as `config.json`.
"""

import dataclasses
import itertools
import json
import math
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_roots import topology
from keras_roots.data import sources


def _field(default: Any, help: str, *, choices: tuple = (), how_only: bool = False):  # noqa: A002
    return dataclasses.field(
        default=default, metadata={"help": help, "choices": choices, "how_only": how_only}
    )


@dataclasses.dataclass(frozen=True)
class Config:
    """What is trained, on what, how. Each field's `help` is in its metadata.

    Fields whose metadata say `how_only` change how a run is carried out or what
    it is called and not its result, to rounding: a work directory may go on
    under others.

    Raises:
        ValueError: a value is not of its field's type or out of range, or two
            of them cannot go together.
    """

    name: str = _field("", "what the run is called, in reports", how_only=True)
    reached: str = _field(
        "not measured",
        "what is known of the result: measured (where and when), or not",
        how_only=True,
    )

    model: str = _field("resnet50", "name of the network, of keras_roots.list_models()")
    root: str = _field(
        "16",
        "filter groups: 16 (root-16; 1 is dense), column-8, tree-4, or a degree for each level, "
        "such as 16,8,4,2",
    )
    model_options: tuple[str, ...] = _field(
        (), "options of the network's factory, such as geometry=deep-roots,auxiliary_heads=true"
    )
    image_size: int = _field(224, "height and width that the network takes, in pixels")
    mean: tuple[float, ...] = _field(
        (123.675, 116.28, 103.53), "subtracted from red, green and blue values of 0 to 255"
    )
    std: tuple[float, ...] = _field((58.395, 57.12, 57.375), "by which the differences are divided")

    dataset: str = _field(
        sources.FOLDERS,
        "folders: DATA_DIR/<split>/<class>/*.JPEG; arrays: .npy files in DATA_DIR, as keras-roots "
        "arrays writes them; digits: those of scikit-learn; synthetic: random pixels, for "
        "throughput; or the name of a data set that tensorflow-datasets has prepared, such as "
        "imagenet2012, imagenette or cifar10",
    )
    data_dir: str = _field(
        "", "folder of the data (default: where tensorflow-datasets keeps its own)", how_only=True
    )
    train_split: str = _field("train", "split to train on; of tensorflow-datasets also train[:10%]")
    validation_split: str = _field(
        "", "split to evaluate on (default: the first of validation, val and test that exists)"
    )
    classes: int = _field(0, "expected number of classes; 0: as many as the data have")
    strict: bool = _field(
        False, "stop at an image that cannot be read, rather than leave it out and count it"
    )

    augmentation: str = _field(
        "paper",
        "none: centre crops; paper: random crops and mirroring; full: crops of random size and "
        "shape, colour jitter, lighting and mirroring, as fb.resnet.torch has it",
        choices=("none", "paper", "full"),
    )
    resize: int = _field(
        256, "pixels of the shorter side of which IMAGE_SIZE are cropped; not for training on full"
    )
    padding: int = _field(
        0,
        "paper: pixels of the mean colour around the centre crop, of which one is taken at random",
    )
    mirror: bool = _field(True, "mirror half of the images left to right (not on none)")
    min_area: float = _field(0.08, "full: least part of the image's area in a crop, 0 to 1")
    color_jitter: float = _field(
        0.4, "full: brightness, contrast and saturation change by at most this factor"
    )
    lighting: float = _field(
        0.1, "full: standard deviation of the noise along the principal components of colours"
    )
    rand_augment: int = _field(0, "number of operations of RandAugment for an image; 0: none")
    rand_augment_factor: float = _field(0.3, "RandAugment: their magnitude, 0 to 1")
    mixup: float = _field(0.0, "alpha of mixup, 0 to 1; 0: none")
    cutmix: float = _field(0.0, "alpha of CutMix, 0 to 1; 0: none; with mixup, half of each")
    label_smoothing: float = _field(0.0, "part of each target that all classes share, 0 to 1")

    epochs: int = _field(90, "passes over the training images")
    batch_size: int = _field(256, "images of an update, over all replicas")
    accumulation: int = _field(
        1, "number of pieces in which a replica computes its part of a batch, to save memory"
    )
    learning_rate: float = _field(0.1, "the highest, for BASE_BATCH_SIZE images")
    base_batch_size: int = _field(
        256, "the learning rate is multiplied by BATCH_SIZE / BASE_BATCH_SIZE"
    )
    schedule: str = _field(
        "cosine",
        "of the learning rate: cosine, to 0; step, by DECAY_FACTOR after each of DECAY_EPOCHS; "
        "inverse, divided by 1 + DECAY_FACTOR x epochs; constant",
        choices=("cosine", "step", "inverse", "constant"),
    )
    warmup_epochs: float = _field(5.0, "in which the learning rate rises to its highest")
    decay_epochs: tuple[float, ...] = _field((30.0, 60.0, 80.0), "see SCHEDULE")
    decay_factor: float = _field(0.1, "see SCHEDULE")
    momentum: float = _field(0.9, "of stochastic gradient descent, 0 to 1")
    nesterov: bool = _field(True, "Nesterov's form of momentum")
    weight_decay: float = _field(
        1e-4, "times the kernel is added to its gradient; not to those of biases and normalisation"
    )
    clip_norm: float = _field(0.0, "largest norm of all gradients together; 0: any")
    ema_decay: float = _field(
        0.0,
        "of the moving average of weights that is evaluated and saved, 0 to 1, at first "
        "(1 + updates) / (10 + updates); 0: none",
    )
    precision: str = _field(
        "float32",
        "of the activations; float16 scales the loss",
        choices=("float32", "bfloat16", "float16"),
    )
    seed: int = _field(0, "of the initialisation, the order of examples and their augmentation")

    strategy: str = _field(
        "none",
        "none: one device; mirrored: all GPUs of this machine, or DEVICES; multi_worker: the "
        "machines of TF_CONFIG",
        choices=("none", "mirrored", "multi_worker"),
        how_only=True,
    )
    devices: int = _field(0, "mirrored: use so many; 0: all", how_only=True)
    logical_cpus: bool = _field(
        False,
        "mirrored, on a machine without a GPU: cut the CPU in DEVICES logical devices; to try "
        "things, not for speed",
        how_only=True,
    )
    jit_compile: bool = _field(False, "compile the steps with XLA (strategy none)", how_only=True)
    deterministic: bool = _field(
        False, "the same bits in every run on the same devices; slower on GPUs", how_only=True
    )
    max_steps: int = _field(
        0, "end after so many updates, the schedule's end notwithstanding; 0: never", how_only=True
    )
    evaluate_every: int = _field(1, "epochs from evaluation to evaluation", how_only=True)
    checkpoint_every: int = _field(
        1000,
        "updates from checkpoint to checkpoint; one is written after each epoch, too",
        how_only=True,
    )
    keep_checkpoints: int = _field(3, "how many of the last; the best is kept, too", how_only=True)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = _converted(field.name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self._check_ranges()
        topology.parse(self.root)
        self.factory_options()

    def _check_ranges(self) -> None:
        least = {
            **dict.fromkeys(("image_size", "resize", "epochs", "batch_size", "accumulation"), 1),
            **dict.fromkeys(("base_batch_size", "evaluate_every", "checkpoint_every"), 1),
            "keep_checkpoints": 1,
            **dict.fromkeys(("padding", "classes", "rand_augment", "clip_norm", "devices"), 0),
            **dict.fromkeys(("max_steps", "warmup_epochs", "weight_decay", "decay_factor"), 0),
            **dict.fromkeys(("color_jitter", "lighting", "learning_rate", "seed"), 0),
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"Expected {name} of {bound} or more. {self._received(name)}")
        for name in ("mixup", "cutmix", "rand_augment_factor", "min_area", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"Expected {name} from 0 to 1. {self._received(name)}")
        for name in ("label_smoothing", "momentum", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"Expected {name} from 0 to less than 1. {self._received(name)}")
        if self.min_area == 0:
            raise ValueError(f"Expected min_area of more than 0. {self._received('min_area')}")
        if self.seed >= 2**31:
            raise ValueError(f"Expected seed below 2^31. {self._received('seed')}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                "Expected mean and std of 3 colours, std above 0. "
                f"Received: {self.mean} and {self.std}"
            )
        if self.resize < self.image_size:
            raise ValueError(
                f"Expected resize of image_size ({self.image_size}) or more. "
                f"{self._received('resize')}"
            )
        if any(a >= b for a, b in itertools.pairwise((0.0, *self.decay_epochs))):
            raise ValueError(
                f"Expected rising decay_epochs above 0. {self._received('decay_epochs')}"
            )
        if self.schedule == "step" and not self.decay_epochs:
            raise ValueError("schedule='step' needs decay_epochs. Received: none")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"Expected warmup_epochs of less than epochs ({self.epochs}). "
                f"{self._received('warmup_epochs')}"
            )
        if self.padding and self.augmentation != "paper":
            raise ValueError(
                "padding is for augmentation='paper'. Received: "
                f"padding={self.padding}, augmentation={self.augmentation!r}"
            )
        if self.jit_compile and self.strategy != "none":
            raise ValueError(
                "jit_compile=True is for strategy='none': XLA cannot compile what replicas "
                f"exchange. Received: strategy={self.strategy!r}"
            )
        if self.strategy != "mirrored" and (self.devices or self.logical_cpus):
            raise ValueError(
                "devices and logical_cpus are for strategy='mirrored'. "
                f"{self._received('strategy')}"
            )

    def _received(self, name: str) -> str:
        return f"Received: {name}={getattr(self, name)!r}"

    def factory_options(self) -> dict[str, Any]:
        """`model_options` as arguments of the network's factory."""
        options: dict[str, Any] = {}
        for text in self.model_options:
            name, separator, value = text.partition("=")
            if not separator or not name:
                raise ValueError(f"Expected model_options as NAME=VALUE. Received: {text!r}")
            options[name] = {"true": True, "false": False}.get(value.lower(), value)
        return options

    @property
    def peak_learning_rate(self) -> float:
        """That of `batch_size` images, by linear scaling."""
        return self.learning_rate * self.batch_size / self.base_batch_size

    def differences(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """The fields of another result, and their values here and there."""
        return {
            field.name: (getattr(self, field.name), getattr(other, field.name))
            for field in dataclasses.fields(self)
            if not field.metadata["how_only"]
            and getattr(self, field.name) != getattr(other, field.name)
        }

    def as_dict(self) -> dict[str, Any]:
        """What JSON can hold of it: all."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }


def from_json(text: str) -> Config:
    """The configuration that `Config.as_dict` and JSON wrote.

    Raises:
        ValueError: it is no JSON object of fields of a configuration.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected a configuration as JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"Expected a JSON object of fields. Received: {type(values).__name__}")
    return replaced(Config(), values)


def from_file(path: str | os.PathLike) -> Config:
    """The configuration of a JSON file, such as a work directory's config.json.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no configuration.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no configuration file '{path}'.")
    try:
        return from_json(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:  # That it is no UTF-8 is one, too.
        raise ValueError(f"'{path}' is no configuration: {error}") from None


def replaced(config: Config, values: Mapping[str, Any]) -> Config:
    """The same with some fields of other values, checked.

    Raises:
        ValueError: there is no such field, or a value is wrong.
    """
    known = {field.name for field in dataclasses.fields(Config)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"A configuration has no field {', '.join(unknown)}")
    return dataclasses.replace(config, **values)


TYPES: Mapping[str, Any] = types.MappingProxyType(typing.get_type_hints(Config))


def _converted(name: str, value: Any) -> Any:
    """The value as its field's type, where that loses nothing."""
    expected = TYPES[name]
    choices = Config.__dataclass_fields__[name].metadata["choices"]
    if choices and value not in choices:
        raise ValueError(f"Expected {name} as one of {', '.join(choices)}. Received: {value!r}")
    if typing.get_origin(expected) is tuple:
        element, _ = typing.get_args(expected)
        if isinstance(value, (list, tuple)):
            return tuple(_number_or_text(name, each, element) for each in value)
        raise ValueError(f"Expected {name} as a list. Received: {value!r}")
    return _number_or_text(name, value, expected)


def _number_or_text(name: str, value: Any, expected: Any) -> Any:
    if expected is float and type(value) is int:
        value = float(value)
    if type(value) is not expected or (expected is float and not math.isfinite(value)):
        raise ValueError(f"Expected {name} as {expected.__name__}. Received: {value!r}")
    return value
