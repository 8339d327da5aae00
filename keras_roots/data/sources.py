"""Opening labelled images by what people call them.

* a folder of <class>/*.JPEG, or of splits that are such folders; where no labels are asked for, a
  folder of images at any depth;
* a folder of .npy files, as `arrays` writes it;
* "digits", which scikit-learn brings;
* a data set that tensorflow-datasets has prepared: see `prepared`;
* "synthetic": random pixels, drawn once, of which nothing is decoded.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_roots.data import arrays, prepared
from keras_roots.data.settings import Settings
from keras_roots.data.split import VALIDATION_SPLITS, Source, Split, of_arrays, of_files

SYNTHETIC, FOLDERS, ARRAYS, DIGITS = "synthetic", "folders", "arrays", "digits"
SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".gif")
_SYNTHETIC_IMAGES = 1_281_167  # As many as ImageNet has to train on.
_SYNTHETIC_POOL = 16
_TRIED = 16  # Images, before the work.


def open_source(config: Settings, *, in_memory: bool = False) -> Source:
    """The data of a configuration, checked but for the images themselves.

    Args:
        in_memory: hold prepared data sets whole; see `Split.arrays`.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: they are not as they should be.
        ModuleNotFoundError: the extra "datasets" is not installed.
    """
    if config.dataset == SYNTHETIC:
        return _synthetic(config)
    data = _data(config.dataset, config.data_dir, in_memory=in_memory)
    held_out = config.validation_split or data.held_out()
    if not held_out:
        raise FileNotFoundError(
            f"{data.name!r} holds no split to evaluate on: one of {', '.join(VALIDATION_SPLITS)}"
        )
    if isinstance(data, _Arrays) and (config.train_split, held_out) != ("train", "test"):
        raise ValueError(
            "Arrays have the splits train, to train on, and test, to evaluate on. Received: "
            f"train_split={config.train_split!r}, validation_split={config.validation_split!r}"
        )
    names, train = data.split(config.train_split)
    others, validation = data.split(held_out)
    if names != others:
        raise ValueError(
            f"{config.train_split} and {held_out} of {data.name!r} have other classes: "
            f"{', '.join(sorted(set(names) ^ set(others))[:5])} only in one of them"
        )
    if config.classes not in (0, len(names)):
        raise ValueError(
            f"Expected {config.classes} classes. {data.name} has {len(names)}: "
            f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
        )
    if config.batch_size > train.size:
        raise ValueError(
            f"Expected a batch_size of the {train.size} training images or fewer. "
            f"Received: {config.batch_size}"
        )
    return Source(data.name, names, train, validation)


def named(data: str | os.PathLike, data_dir: str | os.PathLike | None = None) -> tuple[str, str]:
    """The fields dataset and data_dir of a configuration, of a folder or a data set's name."""
    folder = Path(data).expanduser()
    if data_dir is not None or not folder.is_dir():
        return os.fspath(data), os.fspath(data_dir or "")
    return ARRAYS if arrays.is_one(folder) else FOLDERS, os.fspath(data)


def _data(
    dataset: str, data_dir: str, *, in_memory: bool = False
) -> "_Folders | _Arrays | prepared.Prepared":
    if dataset == FOLDERS:
        if not data_dir:
            raise ValueError("Class folders need data_dir: the folder of train/<class>/*.JPEG")
        return _Folders(Path(data_dir).expanduser())
    if dataset == ARRAYS:
        if not data_dir:
            raise ValueError("Arrays need data_dir: the folder that `keras-roots arrays` wrote")
        return _Arrays(arrays.read(data_dir))
    if dataset == DIGITS:
        return _Arrays(arrays.load(DIGITS, data_dir or None))
    return prepared.Prepared(dataset, data_dir or None, in_memory=in_memory)


def open_split(
    data: str | os.PathLike | Source,
    data_dir: str | os.PathLike | None = None,
    split: str | None = None,
    *,
    labelled: bool = True,
) -> tuple[str, tuple[str, ...], Split]:
    """Images to look at, and not to train on.

    Args:
        data: a folder, or the name of a data set, as above; or what is trained
            on, whose held-out images are meant.
        data_dir: where tensorflow-datasets keeps its data sets (then `data` is
            a name), by default where it does so itself.
        split: of the data; by default the first of validation, val and test
            that exists, and of a folder without these the folder itself.
        labelled: whether their classes matter. Else a folder's images are
            taken wherever they lie in it.

    Returns:
        What they are called, the names of the classes, and the images.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: as `open_source`.
    """
    if isinstance(data, Source):
        held_out = data.validation
        return f"{data.name} {held_out.name}", data.class_names, held_out
    dataset, where = named(data, data_dir)
    try:
        opened = _data(dataset, where)
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        if where:
            raise
        raise type(error)(f"{dataset!r} is no folder. {error}") from error
    split = split or opened.held_out()
    if not isinstance(opened, _Folders):
        return f"{opened.name} {split}", *opened.split(split)
    folder = opened.folder / split
    if labelled:
        return str(folder), *opened.split(split)
    # Of its path, what tells it from others.
    return "/".join(folder.resolve().parts[-2:]), (), images_below(folder)


def array_source(images: np.ndarray, labels: np.ndarray, classes: int | None = None) -> Source:
    """Images in memory, to train on; none is held out.

    Args:
        images: uint8 [examples, size, size, 3], 0 to 255.
        labels: integers [examples], from 0.
        classes: how many there are; by default one more than the last label.

    Raises:
        ValueError: they are not as above.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    classes = int(labels.max(initial=0)) + 1 if classes is None else classes
    arrays.check_labelled(images, labels, classes)
    if images.shape[1] != images.shape[2]:
        raise ValueError(f"Expected square images. Received: {images.dtype} {list(images.shape)}")
    split = of_arrays("arrays", "train", images, labels)
    nothing = dataclasses.replace(split, name="validation", size=0)
    return Source("arrays", tuple(map(str, range(classes))), split, nothing)


def check_readable(source: Source) -> None:
    """Tries some images of each split, before the long work.

    Raises:
        ValueError: none of them can be read, or one has a label of no class.
    """
    for split in (source.train, source.validation):
        if split.pixels or split.arrays is not None:
            continue
        import tensorflow as tf

        tried = sorted({n * (split.size - 1) // (_TRIED - 1) for n in range(_TRIED)})
        reasons = []
        for number in tried:
            try:
                content, label = split.read(tf.constant(number, tf.int64))
                if not 0 <= int(label) < len(source.class_names):  # As of ImageNet's test split.
                    raise ValueError(
                        f"{split.describe(number)} has the label {int(label)}, which is none of "
                        f"{len(source.class_names)} classes. Take another split than "
                        f"{split.name!r}."
                    )
                tf.io.decode_image(content, expand_animations=False)
            except tf.errors.OpError as error:
                reasons.append(f"{split.describe(number)}: {' '.join(str(error.message).split())}")
        if len(reasons) == len(tried):
            raise ValueError(f"None of {len(tried)} images tried can be read, such as {reasons[0]}")


def images_below(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> Split:
    """The images of a folder at any depth, sorted; their labels are not known.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there are no images in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    paths = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in suffixes)
    if not paths:
        raise ValueError(f"There are no images in {str(folder)!r}: {', '.join(suffixes)}")
    return of_files(folder, paths)


class _Folders:
    """Images in <folder>/<split>/<class>/."""

    def __init__(self, folder: Path):
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no data folder {str(folder)!r}.")
        self.folder, self.name = folder, str(folder)

    def held_out(self) -> str:
        return next((name for name in VALIDATION_SPLITS if (self.folder / name).is_dir()), "")

    def split(self, name: str) -> tuple[tuple[str, ...], Split]:
        """The names of the classes, and the images; of "" those of the folder itself."""
        folder = self.folder / name
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
        paths: list[str] = []
        labels: list[int] = []
        left_out: Counter = Counter()
        try:
            classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
            for label, of_class in enumerate(classes):
                with os.scandir(folder / of_class) as entries:
                    files = sorted(entry.path for entry in entries if entry.is_file())
                images = [path for path in files if Path(path).suffix.lower() in SUFFIXES]
                left_out.update(Path(path).suffix for path in set(files) - set(images))
                if not images:
                    raise ValueError(f"There are no images in {str(folder / of_class)!r}.")
                paths += images
                labels += [label] * len(images)
        except OSError as error:
            raise ValueError(
                f"The folder {error.filename!r} cannot be read: {error.strerror}."
            ) from error
        if len(classes) < 2:
            raise ValueError(
                f"Expected two class folders or more in {str(folder)!r}. Found: {len(classes)}"
            )
        return tuple(classes), of_files(folder, paths, labels, left_out)


class _Arrays:
    """Images in memory."""

    def __init__(self, images: arrays.LabelledImages):
        self.name, self._images = images.name, images

    def held_out(self) -> str:
        return "test"

    def split(self, name: str) -> tuple[tuple[str, ...], Split]:
        held = self._images
        pairs = {
            "train": (held.train_images, held.train_labels),
            "test": (held.test_images, held.test_labels),
        }
        if name not in pairs:
            raise ValueError(f"{self.name} has the splits train and test. Received: {name!r}")
        return held.class_names, of_arrays(self.name, name, *pairs[name])


def _synthetic(config: Settings) -> Source:
    import tensorflow as tf

    classes = config.classes or 1000
    pool = tf.random.stateless_uniform(
        (_SYNTHETIC_POOL, config.image_size, config.image_size, 3),
        [config.seed, 0],
        0,
        256,
        tf.int32,
    )
    pool = tf.cast(pool, tf.uint8)

    def read(index):
        return pool[index % _SYNTHETIC_POOL], index % classes

    def split(name: str, size: int) -> Split:
        return Split(name, size, read, lambda index: f"synthetic {index}", SYNTHETIC, pixels=True)

    return Source(
        SYNTHETIC,
        tuple(str(label) for label in range(classes)),
        split("train", _SYNTHETIC_IMAGES),
        split("validation", max(classes, config.batch_size)),
    )
