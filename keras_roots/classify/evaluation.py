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
from keras_roots.data import Images, Source
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
    opened = labelled_images(classifier, data, resize=resize, class_names=class_names, **where)
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


def labelled_images(
    classifier: Classifier,
    data: str | os.PathLike | Source,
    *,
    resize: int | None = None,
    class_names: Sequence[str] | None = None,
    **how: Any,
) -> Images:
    """The images that `evaluate` reads, of a classifier's size, for its preprocessing.

    Args:
        classifier, data, resize, class_names: as of `evaluate`.
        **how: data_dir, split, batch_size and images, as of `Images`.

    Raises:
        FileNotFoundError, ValueError, ModuleNotFoundError: as of `evaluate`.
    """
    resize = resize_of(classifier, resize)
    how |= {"labelled": True, "resize": resize, "preprocessing": classifier.preprocessing}
    opened = Images(data, classifier.image_size, **how)
    name, names = opened.name, opened.class_names
    if classifier.classes != len(names):
        raise ValueError(
            f"The model has {classifier.classes} classes, and {name} has {len(names)}. Give the "
            "data that the model was trained for."
        )
    if class_names is None or tuple(class_names) == names:
        return opened
    if len(class_names) != len(names):
        raise ValueError(
            f"The model was trained on {len(class_names)} classes, and {name} has {len(names)}."
        )
    number = next(n for n, each in enumerate(names) if each != class_names[n])
    raise ValueError(
        f"The model's class {number} is {class_names[number]!r}, and that of {name} is "
        f"{names[number]!r}. Give the data that the model was trained for."
    )


def _ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before each image's own; of equal scores the first comes first."""
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    is_before = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    return np.sum((scores > own) | ((scores == own) & is_before), axis=1)
