"""Labelled images in memory, and as `.npy` files, which need nothing but NumPy to be read.

* digits: the 1,797 handwritten digits that scikit-learn carries (a copy of
  the test set of UCI's "Optical Recognition of Handwritten Digits"), brought
  from 8x8 to 32x32 pixels. Needs no network. One fifth is held out, drawn at
  random class by class, so the same writers are in both parts.
* cifar10: CIFAR-10 as tensorflow-datasets prepared it on disk.

A folder of `.npy` files has

* train_images.npy, test_images.npy: uint8 [examples, height, width, 3], 0-255;
* train_labels.npy, test_labels.npy: integers [examples], from 0;
* classes.txt: the name of each class, one a line;
* about.json, which may be missing: "name", "mirror" and "background", as of
  `LabelledImages`.

An array may be cut, along its examples, in files that are called like
train_images-00000-of-00004.npy, for places that take small files only.

    keras-roots arrays cifar10 cifar10-arrays --data-dir ~/tensorflow_datasets
"""

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots.data import prepared
from keras_roots.reporting import replacing_folder
from keras_roots.requirements import require_extras

DATASETS = ("digits", "cifar10")
SHARD_BYTES = 48 * 2**20
_CLASSES, _ABOUT = "classes.txt", "about.json"
_SPLITS = ("train", "test")
_SIZE = 32
_HELD_OUT_DIGITS = 360


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images of one size with their classes, for training and held out.

    Attributes:
        name: of the data set.
        train_images, test_images: uint8, [examples, height, width, 3], 0-255.
        train_labels, test_labels: int64, [examples], from 0.
        class_names: one for each label.
        mirror: whether an image keeps its class when mirrored left to right.
        background: what to pad images with, 0-255.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mirror: bool
    background: int

    def take(self, examples: int) -> "LabelledImages":
        """The same with at most so many training examples."""
        return dataclasses.replace(
            self,
            train_images=self.train_images[:examples],
            train_labels=self.train_labels[:examples],
        )


def load(name: str, data_dir: str | os.PathLike | None = None) -> LabelledImages:
    """Loads a data set whole.

    Args:
        name: one of `DATASETS`.
        data_dir: where tensorflow-datasets keeps its data sets, for cifar10;
            by default where it does so itself (TFDS_DATA_DIR, or
            tensorflow_datasets in the home folder).

    Raises:
        ValueError: unknown name, `data_dir` given for digits, or files that
            tensorflow-datasets cannot read.
        FileNotFoundError: CIFAR-10 is not there; nothing is downloaded.
        ModuleNotFoundError: the extra "datasets" is not installed.
    """
    if name == "digits":
        if data_dir is not None:
            raise ValueError("The digits come with scikit-learn: data_dir is for cifar10 only.")
        return _digits()
    if name == "cifar10":
        return _cifar10(data_dir)
    raise ValueError(f"Expected a data set of: {', '.join(DATASETS)}. Received: {name!r}")


def _digits() -> LabelledImages:
    require_extras("The digits", {"sklearn": "datasets"})
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    grey = digits.images.astype(np.float32)[..., np.newaxis] * (255 / 16)
    grey = keras.ops.image.resize(
        grey, (_SIZE, _SIZE), interpolation="bilinear", data_format="channels_last"
    )
    grey = np.rint(keras.ops.convert_to_numpy(grey)).astype(np.uint8)
    images = np.repeat(grey, 3, axis=-1)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images,
        digits.target.astype(np.int64),
        test_size=_HELD_OUT_DIGITS,
        stratify=digits.target,
        random_state=0,
    )
    return LabelledImages(
        "digits",
        train_images,
        train_labels,
        test_images,
        test_labels,
        class_names=tuple("0123456789"),
        mirror=False,
        background=0,
    )


def _cifar10(data_dir: str | os.PathLike | None) -> LabelledImages:
    data = prepared.Prepared("cifar10", data_dir, in_memory=True)
    (names, train), (_, test) = (data.split(name) for name in _SPLITS)
    if train.images.shape[1:] != (_SIZE, _SIZE, 3):
        raise ValueError(f"{data.name} is no CIFAR-10: its images are {train.images.shape[1:]}")
    return LabelledImages(
        "cifar10",
        train.images,
        train.labels,
        test.images,
        test.labels,
        class_names=names,
        mirror=True,
        background=round(train.images.mean()),
    )


def write(
    folder: str | os.PathLike, images: LabelledImages, *, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Writes such a folder, as a whole or not at all; one that is there is replaced.

    Args:
        shard_bytes: what a file has at most, but for one example that is larger.

    Raises:
        ValueError: the images are not as above, or `shard_bytes` is below 1.
        FileNotFoundError: the folder that is to hold it does not exist.
        NotADirectoryError: there is a file of that name.
    """
    if shard_bytes < 1:
        raise ValueError(f"Expected shard_bytes of 1 or more. Received: {shard_bytes}")
    check(images)
    if any("\n" in name or not name.strip() for name in images.class_names):
        raise ValueError(f"Expected class names of one line each. Received: {images.class_names}")
    folder = Path(folder)
    about = {"name": images.name, "mirror": images.mirror, "background": images.background}
    with replacing_folder(folder) as new:
        for split in _SPLITS:
            for kind in ("images", "labels"):
                name = f"{split}_{kind}"
                _write_array(new, name, getattr(images, name), shard_bytes)
        text = "".join(f"{name}\n" for name in images.class_names)
        (new / _CLASSES).write_text(text, encoding="utf-8")
        (new / _ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return folder


def read(folder: str | os.PathLike) -> LabelledImages:
    """Reads such a folder whole.

    Without about.json, the name is the folder's, images are not for
    mirroring, and the background is their mean.

    Raises:
        FileNotFoundError: the folder or a file is not there.
        ValueError: a file is not as above.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no data folder {str(folder)!r}.")
    held: dict[str, Any] = {
        f"{split}_{kind}": _read_array(folder, f"{split}_{kind}")
        for split in _SPLITS
        for kind in ("images", "labels")
    }
    if not (folder / _CLASSES).is_file():
        raise FileNotFoundError(
            f"{str(folder)!r} lacks {_CLASSES}: the name of each class, one a line."
        )
    try:
        names = tuple((folder / _CLASSES).read_text(encoding="utf-8").splitlines())
    except ValueError as error:
        raise ValueError(f"'{folder / _CLASSES}' is no text in UTF-8: {error}") from None
    about = {"name": folder.name, "mirror": False, "background": None, **_about(folder)}
    found = LabelledImages(**held, class_names=names, **about)
    try:
        check(found)
    except ValueError as error:
        raise ValueError(f"{str(folder)!r}: {error}") from None
    for split in _SPLITS:  # As `data.load` has them; here, because only now they are integers.
        held[f"{split}_labels"] = held[f"{split}_labels"].astype(np.int64)
    if about["background"] is None:
        about["background"] = round(float(found.train_images.mean()))
    return LabelledImages(**held, class_names=names, **about)


def is_one(folder: Path) -> bool:
    """Whether a folder is one of arrays."""
    return any(folder.glob("train_images*.npy"))


def check(images: LabelledImages) -> None:
    """Raises a ValueError unless shapes, types and labels are as they should be."""
    for split in _SPLITS:
        pixels, labels = getattr(images, f"{split}_images"), getattr(images, f"{split}_labels")
        check_labelled(pixels, labels, len(images.class_names), prefix=f"{split}_")
    if images.train_images.shape[1:] != images.test_images.shape[1:]:
        raise ValueError(
            f"Expected images of one size. Those to train on are "
            f"{list(images.train_images.shape[1:])}, those to test on "
            f"{list(images.test_images.shape[1:])}"
        )


def check_labelled(
    images: np.ndarray, labels: np.ndarray, classes: int, *, prefix: str = ""
) -> None:
    """Raises a ValueError unless they are images and their labels; see `LabelledImages`.

    Args:
        prefix: of the arrays' names.
    """
    shape = list(images.shape)
    if images.dtype != np.uint8 or images.ndim != 4 or shape[-1] != 3:
        raise ValueError(
            f"Expected {prefix}images as uint8 [examples, height, width, 3], of 0 to 255. "
            f"Received: {images.dtype} {shape}"
        )
    if 0 in shape:
        raise ValueError(f"There are no {prefix}images: their shape is {shape}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        raise ValueError(
            f"Expected {prefix}labels as integers, [{len(images)}], one for each image. "
            f"Received: {labels.dtype} {list(labels.shape)}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"Expected {prefix}labels from 0 to {classes - 1}, of {classes} classes. "
            f"Received: {labels.min()} to {labels.max()}"
        )


def _write_array(folder: Path, name: str, array: np.ndarray, shard_bytes: int) -> None:
    each = max(1, shard_bytes // max(1, array.nbytes // len(array)))
    count = -(-len(array) // each)
    for number in range(count):
        part = array[number * each : (number + 1) * each]
        suffix = f"-{number:05d}-of-{count:05d}" if count > 1 else ""
        np.save(folder / f"{name}{suffix}.npy", part, allow_pickle=False)


def _read_array(folder: Path, name: str) -> np.ndarray:
    parts = [_loaded(path) for path in _files(folder, name)]
    if len({(part.dtype, part.shape[1:]) for part in parts}) > 1 or not parts[0].ndim:
        raise ValueError(
            f"The parts of {name} in {str(folder)!r} do not fit together: "
            f"{', '.join(sorted({f'{part.dtype} {list(part.shape)}' for part in parts}))}"
        )
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _files(folder: Path, name: str) -> list[Path]:
    """The file of an array, or all of its parts in order."""
    whole = folder / f"{name}.npy"
    parts: dict[int, dict[int, Path]] = {}
    for path in folder.glob(f"{name}-*.npy"):
        found = re.fullmatch(rf"{name}-(\d{{5}})-of-(\d{{5}})", path.stem)
        if found:
            parts.setdefault(int(found[2]), {})[int(found[1])] = path
    if whole.is_file() and not parts:
        return [whole]
    if not parts:
        raise FileNotFoundError(
            f"{str(folder)!r} lacks {whole.name} (or {name}-00000-of-00002.npy and so on). "
            "`keras-roots arrays` writes such folders."
        )
    if whole.is_file() or len(parts) > 1:
        raise ValueError(
            f"{str(folder)!r} holds {name} more than once: as one file, or as other numbers of "
            "them. Leave one."
        )
    ((count, of_number),) = parts.items()
    missing = sorted(set(range(count)) - set(of_number))
    if missing:
        lacking = f"{name}-{missing[0]:05d}-of-{count:05d}.npy"
        raise FileNotFoundError(f"{str(folder)!r} is incomplete: it lacks {lacking}.")
    return [of_number[number] for number in range(count)]


def _loaded(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:  # It is cut off, of Python's objects, or none.
        raise ValueError(f"'{path}' cannot be read as an array: {error}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"'{path}' is an archive of arrays; expected one array, of np.save.")
    return array


def _about(folder: Path) -> dict[str, Any]:
    path = folder / _ABOUT
    if not path.is_file():
        return {}
    kinds = {"name": str, "mirror": bool, "background": int}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        values = {name: found[name] for name in kinds}
        if any(type(values[name]) is not kind for name, kind in kinds.items()):
            raise TypeError(f"expected {', '.join(f'{n}: {k.__name__}' for n, k in kinds.items())}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{path}' is not as `keras-roots arrays` writes it: {error!r}") from None
    return values
