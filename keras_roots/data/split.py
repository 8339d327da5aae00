"""What is trained and evaluated on, whatever it is read from."""

import dataclasses
from collections import Counter
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Images of one split.

    Attributes:
        name: of the split.
        size: how many.
        read: function of an int64 tensor below `size` to the image file's
            content, a string tensor, and the label, int64.
        describe: function of such a number to what the image is called.
        fingerprint: that of the files' names; another order or other files
            have another.
        pixels: whether `read` gives the image itself, of `image_size`,
            rather than a file's content.
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
