"""What is trained and evaluated on, whatever it is read from.

Each image can be read by its number. So the order in which they are read is arithmetic, and nothing
of it has to be remembered from run to run.
"""

import dataclasses
import functools
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

VALIDATION_SPLITS = ("validation", "val", "test")  # The first that exists is evaluated on.


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images of one split.

    Attributes:
        name: of the split.
        size: how many.
        read: function of an int64 tensor below `size` to the image file's
            content, a string tensor, or the image, uint8 [height, width, 3],
            where it is in memory; and to the label, int64.
        describe: function of such a number to what the image is called.
        fingerprint: that of the files' names; another order or other files
            have another.
        pixels: whether `read` gives images of `image_size`, of which nothing
            is cropped.
        left_out: what is beside the images and is none, by suffix.
        arrays: the images, uint8 [size, height, width, 3], and labels, int64,
            where they are in memory.
    """

    name: str
    size: int
    read: Callable
    describe: Callable[[int], str]
    fingerprint: str
    pixels: bool = False
    left_out: Counter = dataclasses.field(default_factory=Counter)
    arrays: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def images(self) -> np.ndarray:
        """Those in memory.

        Raises:
            ValueError: they are not.
        """
        return self._held()[0]

    @property
    def labels(self) -> np.ndarray:
        """As `images`."""
        return self._held()[1]

    def _held(self) -> tuple[np.ndarray, np.ndarray]:
        if self.arrays is None:
            raise ValueError(f"The images of {self.name} are not in memory.")
        return self.arrays


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """What is trained and evaluated on.

    Attributes:
        name: of the data set.
        class_names: one for each label.
        train, validation: the splits.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split

    def fingerprint(self) -> dict[str, object]:
        """What a work directory remembers the data by."""
        return {
            "classes": len(self.class_names),
            "train_images": self.train.size,
            "validation_images": self.validation.size,
            "files": f"{self.train.fingerprint}-{self.validation.fingerprint}",
        }


def evenly(split: Split, images: int) -> Split:
    """So many images of a split, with steps between them that differ by one at most."""
    import tensorflow as tf

    numbers = [place * split.size // images for place in range(images)]
    chosen = tf.constant(numbers, tf.int64)
    return dataclasses.replace(
        split,
        size=images,
        read=lambda index: split.read(chosen[index]),
        describe=lambda index: split.describe(numbers[index]),
        arrays=split.arrays and (split.images[numbers], split.labels[numbers]),
    )


def of_files(
    folder: Path,
    paths: Sequence[str],
    labels: Sequence[int] | None = None,
    left_out: Counter | None = None,
) -> Split:
    """Image files in a folder or below; without labels, each has 0."""
    import tensorflow as tf

    path_of = tf.constant(paths)
    label_of = tf.constant([0] * len(paths) if labels is None else labels, tf.int64)
    return Split(
        name=folder.name,
        size=len(paths),
        read=lambda index: (tf.io.read_file(path_of[index]), label_of[index]),
        describe=lambda index: paths[index],
        fingerprint=fingerprint("\n".join(os.path.relpath(path, folder) for path in paths)),
        left_out=left_out or Counter(),
    )


def of_arrays(data: str, name: str, images: np.ndarray, labels: np.ndarray) -> Split:
    """Images in memory.

    Args:
        data: name of the data.
        name: of the split.
        images: uint8 [examples, height, width, 3].
        labels: integers [examples].
    """

    @functools.cache
    def held():
        import tensorflow as tf

        # A graph would hold them as part of its definition.
        with tf.init_scope(), tf.device("CPU"):
            return tf.constant(images), tf.constant(labels, tf.int64)

    def read(index):
        pixels, classes = held()
        return pixels[index], classes[index]

    return Split(
        name=name,
        size=len(images),
        read=read,
        describe=lambda index: f"{data} {name}, image {index}",
        fingerprint=fingerprint(images.tobytes() + labels.astype(np.int64).tobytes()),
        arrays=(images, labels),
    )


def fingerprint(content: str | bytes) -> str:
    """Of a list of files, or of what there is."""
    content = content.encode() if isinstance(content, str) else content
    return hashlib.sha256(content).hexdigest()[:16]
