"""Images from disk, in batches, for models of any kind: labels are not looked at.

They are cropped at the centre as `keras_roots.classify.evaluation` does; see `training.images`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_roots.classify.evaluation import read_batches
from keras_roots.data import prepared, sources
from keras_roots.data.split import evenly
from keras_roots.export import calibration
from keras_roots.requirements import require_tensorflow
from keras_roots.training import Config


class Images:
    """Images of a folder or of a prepared data set, of one size; iterated, batches of them.

    A batch is [n, size, size, 3], uint8 of 0 to 255, or float32 if it is preprocessed.

    Args:
        data: folder of images, at any depth, or of a split that is such a folder; or the name of a
            data set of labelled images that tensorflow-datasets has prepared.
        image_size: height and width, in pixels.
        data_dir: where tensorflow-datasets keeps its data sets (then `data` is a name), by default
            where it does so itself.
        split: of the data; by default the first of validation, val and test that exists, and of a
            folder without these the folder itself.
        resize: the shorter side in pixels before the crop; by default 256/224 of the image size,
            and the image size itself below 64.
        batch_size: images at a time.
        images: at most so many, drawn evenly over the split; all by default.
        preprocessing: see `keras_roots.classify.classifier.Classifier`.

    Attributes:
        name: of the data; of a folder, the last two names of its path.
        size: how many images there are.
        unread: names of those that could not be read, of the batches so far; they are left out.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: there are no images, an argument is out of range, or, when iterated, none can be
            read.
        ModuleNotFoundError: the extra "datasets" is not installed, for prepared data sets.
    """

    def __init__(
        self,
        data: str | os.PathLike,
        image_size: int,
        *,
        data_dir: str | os.PathLike | None = None,
        split: str | None = None,
        resize: int | None = None,
        batch_size: int = 32,
        images: int | None = None,
        preprocessing: str = "none",
    ):
        require_tensorflow("Reading images")
        calibration.check_preprocessing(preprocessing)
        for name, number in (("batch_size", batch_size), ("images", images)):
            if number is not None and number < 1:
                raise ValueError(f"Expected {name} of 1 or more. Received: {number}")
        resize = calibration.default_resize(image_size) if resize is None else resize
        if resize < image_size:
            raise ValueError(
                f"Expected resize of the image size ({image_size}) or more. Received: {resize}"
            )
        self.name, self._split = _opened(data, data_dir, split)
        if images is not None and images < self._split.size:
            self._split = evenly(self._split, images)
        self.size = self._split.size
        self.unread: list[str] = []
        self._preprocessing = preprocessing
        self._config = Config(
            image_size=image_size, resize=resize, batch_size=min(batch_size, self.size)
        )

    def __iter__(self) -> Iterator[np.ndarray]:
        found = False
        self.unread.clear()
        for batch in read_batches(self.name, self._config, self._split):
            numbers, is_read = batch["examples"], batch["weights"]
            self.unread += [
                self._split.describe(int(n)) for n in numbers[(numbers >= 0) & ~is_read]
            ]
            if is_read.any():
                found = True
                yield self._preprocessed(batch["images"][is_read])
        if not found:
            raise ValueError(
                f"None of the {self.size} images of {self.name} can be read, such as "
                f"{self.unread[0]}"
            )

    def _preprocessed(self, images: np.ndarray) -> np.ndarray:
        if self._preprocessing == "none":
            return images
        return calibration.preprocessed(images.astype(np.float32), self._preprocessing)


def _opened(
    data: str | os.PathLike, data_dir: str | os.PathLike | None, split: str | None
) -> tuple[str, sources.Split]:
    folder = Path(data).expanduser()
    if data_dir is None and folder.is_dir():
        return _folder(folder / (split or sources.validation_folder(folder)))
    try:
        builder = prepared.builder(os.fspath(data), data_dir)
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        if data_dir is not None:
            raise
        raise type(error)(f"{os.fspath(data)!r} is no folder. {error}") from error
    sources.labels_of(builder)  # Raises of what is not of labelled images: no other can be read.
    split = split or sources.validation_of(builder)
    return f"{builder.info.full_name} {split}", sources.prepared_split(builder, split)


def _folder(folder: Path) -> tuple[str, sources.Split]:
    import tensorflow as tf

    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}.")
    paths = sorted(str(p) for p in folder.rglob("*") if p.suffix.lower() in sources.SUFFIXES)
    if not paths:
        raise ValueError(f"There are no images in {str(folder)!r}: {', '.join(sources.SUFFIXES)}")
    path_of, no_label = tf.constant(paths), tf.constant(0, tf.int64)
    split = sources.Split(
        name=folder.name,
        size=len(paths),
        read=lambda index: (tf.io.read_file(path_of[index]), no_label),
        describe=lambda index: paths[index],
        fingerprint="",
    )
    return "/".join(folder.resolve().parts[-2:]), split
