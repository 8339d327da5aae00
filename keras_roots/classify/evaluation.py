"""How often a classifier is right on labelled images; and these images, as it takes them.

    evaluate(Classifier(keras.models.load_model("model.keras")), "imagenet").top1

Images are cropped at the centre as in training: see `data.images`.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_roots.classify import intervals
from keras_roots.classify.classifier import Classifier, are_probabilities, resize_of
from keras_roots.data import Images
from keras_roots.reporting import Table, silent

_LEAST_PROBABILITY = 1e-7  # In a logarithm, as keras.losses has it.


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How right a classifier is on labelled images.

    Attributes:
        data: name of the data.
        class_names: one for each label.
        images: of each class, how many were read.
        correct: of each class, for how many the class's score is the largest.
        correct_in_5: of all, for how many it is among the five largest.
        cross_entropy: mean negative logarithm of the class's probability, in
            nats; None if the scores are not probabilities.
        unread: names of the images that could not be read; they are left out.
        image_size, resize: images were resized so that their shorter side was
            `resize` pixels, of which `image_size` were cropped at the centre.
    """

    data: str
    class_names: tuple[str, ...]
    images: tuple[int, ...]
    correct: tuple[int, ...]
    correct_in_5: int
    cross_entropy: float | None
    unread: tuple[str, ...]
    image_size: int
    resize: int

    @property
    def total(self) -> int:
        """Number of images that were read."""
        return sum(self.images)

    @property
    def top1(self) -> float:
        """Accuracy, 0 to 1."""
        return sum(self.correct) / self.total

    @property
    def top5(self) -> float:
        """Share of images whose class is among the five largest scores, 0 to 1."""
        return self.correct_in_5 / self.total

    def summary(self) -> Table:
        """Over all classes, with 95% intervals (Wilson's)."""
        rows = []
        for name, correct in (("top-1", sum(self.correct)), ("top-5", self.correct_in_5)):
            low, high = (100 * end for end in intervals.wilson(correct, self.total))
            share = 100 * correct / self.total
            rows.append((f"{name}, %", f"{share:.2f}", f"{low:.2f} to {high:.2f}"))
        if self.cross_entropy is not None:
            rows.append(("cross-entropy, nats", f"{self.cross_entropy:.4f}", ""))
        return Table(("measure", "value", "95% interval"), rows)

    def by_class(self) -> Table:
        """Each class, and all."""
        rows = [
            (name, f"{images:,}", f"{100 * correct / images:.2f}" if images else "")
            for name, images, correct in zip(
                self.class_names, self.images, self.correct, strict=True
            )
        ]
        return Table(
            ("class", "images", "top-1, %"),
            rows,
            footer=[("all", f"{self.total:,}", f"{100 * self.top1:.2f}")],
        )


def evaluate(
    classifier: Classifier,
    data: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    split: str | None = None,
    resize: int | None = None,
    batch_size: int = 32,
    class_names: Sequence[str] | None = None,
    report: Callable[[str], object] = silent,
) -> Evaluation:
    """Counts how often a classifier is right.

    Args:
        data: folder of <class>/*.JPEG, or of a split with such folders; or of
            .npy files, as `keras-roots arrays` writes it; or the name of a data
            set that tensorflow-datasets has prepared, or "digits".
        data_dir: where tensorflow-datasets keeps its data sets (then `data` is
            a name), by default where it does so itself.
        split: of the data; by default the first of validation, val and test
            that exists, and of a folder without these the folder itself.
        resize: the shorter side in pixels before the crop; see `default_resize`.
        batch_size: images at a time.
        class_names: with which the model was trained, if known.
        report: takes a line of progress, now and then.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: they cannot be read, their classes are not the model's, or
            an argument is out of range.
        RuntimeError: the model's outputs are not finite.
        ModuleNotFoundError: the extra "datasets" is not installed, for intervals
            and prepared data sets.
    """
    intervals.require()
    where: dict[str, Any] = {"data_dir": data_dir, "split": split, "batch_size": batch_size}
    opened = _opened(classifier, data, resize, class_names, **where)
    counts = np.zeros((2, len(opened.class_names)), np.int64)
    in_5, losses, gives_probabilities = 0, 0.0, True
    for images, is_read, labels in opened.batches(report):
        scores = classifier(images)[is_read]
        ranks = _ranks(scores, labels)
        np.add.at(counts, (0, labels), 1)
        np.add.at(counts, (1, labels), ranks < 1)
        in_5 += int(np.sum(ranks < 5))
        gives_probabilities = gives_probabilities and are_probabilities(scores)
        if gives_probabilities:
            of_label = scores[np.arange(len(labels)), labels].astype(np.float64)
            losses -= float(np.log(np.maximum(of_label, _LEAST_PROBABILITY)).sum())
    return Evaluation(
        data=opened.name,
        class_names=opened.class_names,
        images=tuple(counts[0].tolist()),
        correct=tuple(counts[1].tolist()),
        correct_in_5=in_5,
        cross_entropy=losses / int(counts[0].sum()) if gives_probabilities else None,
        unread=tuple(opened.unread),
        image_size=classifier.image_size,
        resize=opened.resize,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """Images as a classifier's model takes them, in memory.

    Attributes:
        data: name of the data.
        class_names: one for each label.
        images: [n, size, size, 3], float32; or uint8, for a model of values of
            0 to 255.
        labels: int64 [n].
        unread: names of the images that could not be read; they are left out.
    """

    data: str
    class_names: tuple[str, ...]
    images: np.ndarray
    labels: np.ndarray
    unread: tuple[str, ...]


def labelled_images(
    classifier: Classifier,
    data: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    split: str | None = None,
    resize: int | None = None,
    batch_size: int = 32,
    images: int | None = None,
    class_names: Sequence[str] | None = None,
    report: Callable[[str], object] = silent,
) -> Labelled:
    """Reads the images that `evaluate` would, and as it would.

    Args:
        classifier, data, data_dir, split, resize, batch_size, class_names,
            report: as of `evaluate`.
        images: at most so many, drawn evenly over the split; all by default.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: as of `evaluate`.
    """
    where: dict[str, Any] = {"data_dir": data_dir, "split": split, "batch_size": batch_size}
    opened = _opened(classifier, data, resize, class_names, images=images, **where)
    size = classifier.image_size
    probe = classifier.preprocessed(np.zeros((1, size, size, 3), np.uint8))
    pixels = np.zeros((opened.size, *probe.shape[1:]), probe.dtype)
    labels = np.zeros(opened.size, np.int64)
    found = 0
    for batch, is_read, of_batch in opened.batches(report):
        part = slice(found, found + len(of_batch))
        pixels[part], labels[part] = classifier.preprocessed(batch[is_read]), of_batch
        found = part.stop
    return Labelled(
        opened.name, opened.class_names, pixels[:found], labels[:found], tuple(opened.unread)
    )


def _opened(
    classifier: Classifier,
    data: str | os.PathLike,
    resize: int | None,
    expected: Sequence[str] | None,
    **how: Any,
) -> Images:
    """Labelled images of a classifier's size, and of its classes."""
    resize = resize_of(classifier, resize)
    opened = Images(data, classifier.image_size, labelled=True, resize=resize, **how)
    name, names = opened.name, opened.class_names
    if classifier.classes != len(names):
        raise ValueError(
            f"The model has {classifier.classes} classes, and {name} has {len(names)}. Give the "
            "data that the model was trained for."
        )
    if expected is None or tuple(expected) == names:
        return opened
    if len(expected) != len(names):
        raise ValueError(
            f"The model was trained on {len(expected)} classes, and {name} has {len(names)}."
        )
    number = next(n for n, each in enumerate(names) if each != expected[n])
    raise ValueError(
        f"The model's class {number} is {expected[number]!r}, and that of {name} is "
        f"{names[number]!r}. Give the data that the model was trained for."
    )


def _ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before each image's own; of equal scores the first comes first."""
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    is_before = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    return np.sum((scores > own) | ((scores == own) & is_before), axis=1)
