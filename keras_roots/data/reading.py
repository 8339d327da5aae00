"""Images to look at, in batches: centre crops of one size, from wherever `sources` opens."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from keras_roots.data import input_pipeline, sources
from keras_roots.data.images import check_preprocessing, checked_resize, preprocessed
from keras_roots.data.settings import CentreCrops
from keras_roots.data.split import Source, evenly
from keras_roots.reporting import Lines, silent
from keras_roots.requirements import require_tensorflow


class Images:
    """Images of one size, opened, and checked but for what is in their files.

    Iterated, it gives batches of those that were read, [n, size, size, 3]: uint8 of 0 to 255, or
    float32 if they are preprocessed.

    Args:
        data, data_dir, split, labelled: see `sources.open_split`.
        image_size: height and width, in pixels.
        resize: the shorter side in pixels before the crop; by default 256/224 of the image size,
            and the image size itself below 64.
        batch_size: images at a time.
        images: at most so many, drawn evenly over the split; all by default.
        preprocessing: see `keras_roots.classify.classifier.Classifier`.

    Attributes:
        name: of the data.
        class_names: one for each label.
        size: how many images there are.
        resize: as above.
        unread: names of those that could not be read, of the batches so far; they are left out.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: there are no images, an argument is out of range, or, when iterated, none can be
            read.
        ModuleNotFoundError: the extra "datasets" is not installed, for prepared data sets.
    """

    def __init__(
        self,
        data: str | os.PathLike | Source,
        image_size: int,
        *,
        data_dir: str | os.PathLike | None = None,
        split: str | None = None,
        labelled: bool = False,
        resize: int | None = None,
        batch_size: int = 32,
        images: int | None = None,
        preprocessing: str = "none",
    ):
        require_tensorflow("Reading images")
        check_preprocessing(preprocessing)
        for name, number in (("batch_size", batch_size), ("images", images)):
            if number is not None and number < 1:
                raise ValueError(f"Expected {name} of 1 or more. Received: {number}")
        self.resize = checked_resize(image_size, resize)
        self.name, self.class_names, self._split = sources.open_split(
            data, data_dir, split, labelled=labelled
        )
        if images is not None and images < self._split.size:
            self._split = evenly(self._split, images)
        self.size = self._split.size
        self.unread: list[str] = []
        self._labelled, self._preprocessing = labelled, preprocessing
        self._crops = CentreCrops(image_size, self.resize, min(batch_size, self.size))

    def __iter__(self) -> Iterator[np.ndarray]:
        for images, is_read, _ in self.batches():
            if is_read.any():
                yield preprocessed(images[is_read], self._preprocessing)

    def in_memory(self, report: Callable[[str], object] = silent) -> tuple[np.ndarray, np.ndarray]:
        """All that can be read, as iterated, and their labels, int64.

        Args:
            report: takes a line of progress, now and then.
        """
        size = self._crops.image_size
        kind = np.uint8 if self._preprocessing == "none" else np.float32
        pixels, labels = np.zeros((self.size, size, size, 3), kind), np.zeros(self.size, np.int64)
        found = 0
        for images, is_read, of_batch in self.batches(report):
            part = slice(found, found + len(of_batch))
            pixels[part] = preprocessed(images[is_read], self._preprocessing)
            labels[part] = of_batch
            found = part.stop
        return pixels[:found], labels[:found]

    def batches(
        self, report: Callable[[str], object] = silent
    ) -> Iterator[tuple[np.ndarray, np.ndarray, Any]]:
        """All images once, in batches of one size: the last is filled up with what was not read.

        Args:
            report: takes a line of progress, now and then.

        Yields:
            Images, uint8 [n, size, size, 3]; which of them were read, bool [n]; and the labels of
            those, int64.

        Raises:
            ValueError: they cannot be read, or have no labels and should.
        """
        import tensorflow as tf

        self.unread.clear()
        found, seen, lines = 0, 0, Lines(report)
        batches = input_pipeline.validation(tf.distribute.get_strategy(), self._crops, self._split)
        while True:
            try:
                tensors = next(batches, None)
            except tf.errors.OpError as error:
                reason = " ".join(str(error.message).split())
                raise ValueError(f"The images of {self.name} cannot be read: {reason}") from error
            if tensors is None:
                break
            batch = {key: value.numpy() for key, value in tensors.items()}
            numbers, is_read = batch["examples"], batch["weights"] > 0
            self.unread += [
                self._split.describe(int(n)) for n in numbers[(numbers >= 0) & ~is_read]
            ]
            labels = batch["labels"][is_read]
            is_known = (labels >= 0) & (labels < len(self.class_names))
            if self._labelled and not is_known.all():
                raise ValueError(
                    f"{self.name} has images without a label: it is not to evaluate on."
                )
            yield batch["images"], is_read, labels
            found += len(labels)
            seen += int(np.sum(numbers >= 0))
            lines(f"{seen:,} of {self.size:,} images")
        if not found:
            raise ValueError(
                f"None of the {self.size} images of {self.name} can be read, such as "
                f"{self.unread[0]}"
            )
