"""What a classifier sees in photos.

    predict(Classifier(keras.models.load_model("model.keras")), ["cat.jpg"]).table()

Images are cropped at the centre as in training: see `data.images`.
"""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from keras_roots.classify.classifier import Classifier, are_probabilities, resize_of
from keras_roots.data import images, sources
from keras_roots.reporting import Table

_PHOTOS_AT_ONCE = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier makes of photos.

    Attributes:
        photos: their paths.
        class_names: one for each score.
        scores: float32 [photos, classes].
    """

    photos: tuple[str, ...]
    class_names: tuple[str, ...]
    scores: np.ndarray

    @property
    def are_probabilities(self) -> bool:
        return are_probabilities(self.scores)

    def table(self, top: int = 5) -> Table:
        """The largest scores of each photo, at most `top`.

        Raises:
            ValueError: fewer than one.
        """
        if top < 1:
            raise ValueError(f"Expected top of 1 or more. Received: {top}")
        kind, form = ("probability", ".4f") if self.are_probabilities else ("score", ".4g")
        order = np.argsort(-self.scores, axis=1, kind="stable")[:, :top]
        rows = [
            (photo, str(rank + 1), self.class_names[place], format(float(scores[place]), form))
            for photo, scores, places in zip(self.photos, self.scores, order, strict=True)
            for rank, place in enumerate(places)
        ]
        return Table(("photo", "rank", "class", kind), rows, left=3)


def predict(
    classifier: Classifier,
    photos: Iterable[str | os.PathLike],
    *,
    resize: int | None = None,
    class_names: Sequence[str] | None = None,
) -> Predictions:
    """Applies a classifier to photos, as their pixels are stored (EXIF may turn them).

    Args:
        photos: files, and folders of which every image is taken, sorted.
        resize: as of `evaluate`.
        class_names: one for each class (default: "class 0", ...).

    Raises:
        FileNotFoundError: there is no such photo or folder.
        ValueError: a photo cannot be read, a folder holds none, or an argument
            is out of range or does not go with the model.
        RuntimeError: the model's outputs are not finite.
    """
    if class_names is None:
        class_names = [f"class {number}" for number in range(classifier.classes)]
    if len(class_names) != classifier.classes:
        raise ValueError(
            f"The model has {classifier.classes} classes. Received: {len(class_names)} class names"
        )
    size, resize = classifier.image_size, resize_of(classifier, resize)
    paths = _photos(photos)
    scores = [
        classifier(np.stack([_read(path, size, resize) for path in paths[n : n + _PHOTOS_AT_ONCE]]))
        for n in range(0, len(paths), _PHOTOS_AT_ONCE)
    ]
    return Predictions(
        tuple(str(path) for path in paths), tuple(class_names), np.concatenate(scores)
    )


def _photos(given: Iterable[str | os.PathLike]) -> list[Path]:
    photos: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in sources.SUFFIXES)
            if not found:
                raise ValueError(f"There are no images in '{path}': {', '.join(sources.SUFFIXES)}")
            photos += found
        elif path.is_file():
            photos.append(path)
        else:
            raise FileNotFoundError(f"There is no photo '{path}'.")
    if not photos:
        raise ValueError("Expected one photo or more. Received: none")
    return photos


def _read(path: Path, image_size: int, resize: int) -> np.ndarray:
    import tensorflow as tf

    # All of it: a crop from above of where a file was cut short would not show it.
    images.require_readable(path)
    return images.centre_crop(tf.io.read_file(str(path)), image_size, resize).numpy()
