"""What a classifier makes of images on disk: its accuracy on labelled ones, its classes for others.

    classifier = Classifier(keras.models.load_model("model.keras"))
    evaluate(classifier, "imagenet").top1
    predict(classifier, ["cat.jpg"]).table()

Images are cropped at the centre as in training: see `training.images`.
"""

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_roots import intervals, prepared
from keras_roots.auxiliary_heads import without_auxiliary_heads
from keras_roots.export import calibration, interpreter
from keras_roots.reporting import silent
from keras_roots.requirements import require_extras, require_tensorflow
from keras_roots.tables import Table
from keras_roots.training import Config, images, input_pipeline, sources

_LEAST_PROBABILITY = 1e-7  # In a logarithm, as keras.losses has it.
_TOLERANCE = 0.01  # Of a sum of probabilities: float16 and int8 round them.
_SECONDS_PER_LINE = 10
_PHOTOS_AT_ONCE = 32


class Classifier:
    """A Keras model or a TFLite file as a function from images to scores.

    Called with uint8 [n, size, size, 3] of 0 to 255, it returns float32
    [n, classes]; or raises a RuntimeError if a score is not finite.

    Args:
        model: with one input of square images of three colours, channels last,
            and one output, [batch, classes]; auxiliary heads are left out. Or
            the path of a TFLite file of batch 1 that takes float32.
        preprocessing: what it was trained with: "none": values of 0 to 255
            (as of a model that normalises by itself); "torch", "caffe" or "tf":
            as keras.applications.imagenet_utils.preprocess_input has it.
        image_size: in pixels, for a model that leaves it open.

    Attributes:
        image_size: height and width of an image, in pixels.
        classes: how many.

    Raises:
        ValueError: the model or an argument is not as above.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: the extra "litert" is not installed, for a file.
    """

    def __init__(
        self,
        model: keras.Model | str | os.PathLike,
        *,
        preprocessing: str = "none",
        image_size: int | None = None,
    ):
        require_tensorflow("A classifier")
        calibration.check_preprocessing(preprocessing)
        if image_size is not None and image_size < 1:
            raise ValueError(f"Expected an image size of 1 or more. Received: {image_size}")
        of_kind = _of_keras if isinstance(model, keras.Model) else _of_tflite
        self._scores, name, shape, self.classes = of_kind(model)
        self.image_size = _image_size(name, shape, image_size)
        self._preprocessing = preprocessing

    def __call__(self, images: np.ndarray) -> np.ndarray:
        pixels = calibration.preprocessed(images.astype(np.float32), self._preprocessing)
        scores = np.asarray(self._scores(pixels), np.float32)
        if not np.isfinite(scores).all():
            raise RuntimeError(
                "The model's outputs are not finite (NaN or infinite): its weights are broken, or "
                "the images are not preprocessed as it was trained."
            )
        return scores


def _of_keras(model: keras.Model) -> tuple[Callable, str, tuple, int]:
    import tensorflow as tf

    model = without_auxiliary_heads(model)
    inputs, outputs = getattr(model, "inputs", None) or [], getattr(model, "outputs", None) or []
    shapes: list[tuple[Any, ...]] = [tuple(tensor.shape) for tensor in outputs]
    if not len(inputs) == len(shapes) == 1 or len(shapes[0]) != 2 or shapes[0][1] is None:
        raise ValueError(
            "Expected a functional or Sequential model with one input, and one output of shape "
            f"[batch, classes]. Received: '{model.name}' with {len(inputs)} inputs and outputs of "
            f"{', '.join(map(str, shapes)) or 'unknown shapes'}"
        )

    @tf.function(autograph=False)
    def scores(pixels):
        return keras.tree.flatten(model(pixels, training=False))[0]

    return scores, model.name, tuple(inputs[0].shape[1:]), shapes[0][1]


def _of_tflite(path: str | os.PathLike) -> tuple[Callable, str, tuple, int]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file '{path}'.")
    require_extras("A TFLite file", {"ai_edge_litert": "litert"})
    try:
        loaded = interpreter.make_interpreter(path, threads=os.cpu_count() or 1)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"'{path}' cannot be loaded as a TFLite file: {error}") from error
    inputs, outputs = loaded.get_input_details(), loaded.get_output_details()
    shapes = [tuple(int(n) for n in each["shape"]) for each in (*inputs, *outputs)]
    kinds = [np.dtype(each["dtype"]).name for each in (*inputs, *outputs)]
    if (
        not len(inputs) == len(outputs) == 1
        or [len(shape) for shape in shapes] != [4, 2]
        or [shape[0] for shape in shapes] != [1, 1]
        or kinds != ["float32", "float32"]
    ):
        found = ", ".join(f"{kind} {shape}" for kind, shape in zip(kinds, shapes, strict=True))
        raise ValueError(
            "Expected a TFLite file from one float32 image, [1, size, size, 3], to float32 scores, "
            f"[1, classes], as `keras-roots export` writes. '{path}' has inputs and outputs of "
            f"{found}"
        )

    def scores(pixels):
        return interpreter.outputs(loaded, pixels)

    return scores, str(path), shapes[0][1:], shapes[1][1]


def _image_size(name: str, shape: tuple, wanted: int | None) -> int:
    is_open = None in shape[:-1]
    if is_open and wanted is None:
        raise ValueError(f"'{name}' leaves its image size open: give --image-size (image_size)")
    if wanted is not None and not is_open and shape[:-1] != (wanted, wanted):
        raise ValueError(f"'{name}' takes images of {shape} only: omit the image size {wanted}")
    filled: tuple[Any, ...] = tuple(wanted if length is None else length for length in shape)
    if len(filled) != 3 or filled[0] != filled[1] or filled[2] != 3:
        raise ValueError(
            f"Expected a model of square images, (size, size, 3). '{name}' takes {filled}"
        )
    return filled[0]


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
        data: folder of <class>/*.JPEG, or of a split with such folders; or the
            name of a data set that tensorflow-datasets has prepared.
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
        ModuleNotFoundError: the extra "datasets" is not installed.
    """
    if batch_size < 1:
        raise ValueError(f"Expected batch_size of 1 or more. Received: {batch_size}")
    resize = _checked_resize(classifier.image_size, resize)
    name, names, images_of_split = _opened(os.fspath(data), data_dir, split)
    _check_classes(name, names, classifier, class_names)
    size = images_of_split.size
    config = Config(
        image_size=classifier.image_size, resize=resize, batch_size=min(batch_size, size)
    )
    counts = np.zeros((2, len(names)), np.int64)
    in_5, losses, gives_probabilities = 0, 0.0, True
    unread: list[str] = []
    seen, reported = 0, time.monotonic()
    for batch in _batches(name, config, images_of_split):
        numbers, weights = batch["examples"], batch["weights"]
        unread += [images_of_split.describe(int(n)) for n in numbers[(numbers >= 0) & ~weights]]
        labels = batch["labels"][weights]
        if not ((labels >= 0) & (labels < len(names))).all():
            raise ValueError(f"{name} has images without a label: it is not to evaluate on.")
        scores = classifier(batch["images"])[weights]
        ranks = _ranks(scores, labels)
        np.add.at(counts, (0, labels), 1)
        np.add.at(counts, (1, labels), ranks < 1)
        in_5 += int(np.sum(ranks < 5))
        gives_probabilities = gives_probabilities and are_probabilities(scores)
        if gives_probabilities:
            of_label = scores[np.arange(len(labels)), labels].astype(np.float64)
            losses -= float(np.log(np.maximum(of_label, _LEAST_PROBABILITY)).sum())
        seen += int(np.sum(numbers >= 0))
        if time.monotonic() - reported >= _SECONDS_PER_LINE:
            reported = time.monotonic()
            report(f"{seen:,} of {size:,} images")
    total = int(counts[0].sum())
    if not total:
        raise ValueError(f"None of the {size} images of {name} can be read, such as {unread[0]}")
    return Evaluation(
        data=name,
        class_names=names,
        images=tuple(counts[0].tolist()),
        correct=tuple(counts[1].tolist()),
        correct_in_5=in_5,
        cross_entropy=losses / total if gives_probabilities else None,
        unread=tuple(unread),
        image_size=classifier.image_size,
        resize=resize,
    )


def default_resize(image_size: int) -> int:
    """The shorter side in pixels, 256 for 224; small images are not cropped."""
    return image_size if image_size < 64 else round(image_size * 256 / 224)


def are_probabilities(scores: np.ndarray) -> bool:
    """Whether each image's scores, [images, classes], are 0 or more and sum to 1."""
    return bool(
        (scores >= 0).all() and (np.abs(scores.sum(axis=-1, dtype=float) - 1) < _TOLERANCE).all()
    )


def _checked_resize(image_size: int, resize: int | None) -> int:
    if resize is None:
        return default_resize(image_size)
    if resize < image_size:
        raise ValueError(
            f"Expected resize of the image size ({image_size}) or more. Received: {resize}"
        )
    return resize


def _opened(
    data: str, data_dir: str | os.PathLike | None, split: str | None
) -> tuple[str, tuple[str, ...], sources.Split]:
    """The name of the data, those of the classes, and the images."""
    folder = Path(data).expanduser()
    if data_dir is None and folder.is_dir():
        present = [name for name in sources.VALIDATION_SPLITS if (folder / name).is_dir()]
        folder = folder / (split or (present[0] if present else ""))
        return str(folder), *sources.folder_split(folder)
    try:
        builder = prepared.builder(data, data_dir)
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:
        if data_dir is not None:
            raise
        raise type(error)(f"{data!r} is no folder. {error}") from error
    features = builder.info.features
    if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise ValueError(f"{data} is not of labelled images: it holds {features}")
    if split is None:
        present = [name for name in sources.VALIDATION_SPLITS if name in builder.info.splits]
        if not present:
            raise ValueError(
                f"{data} has no split of: {', '.join(sources.VALIDATION_SPLITS)}. Give one of: "
                f"{', '.join(builder.info.splits)}"
            )
        split = present[0]
    opened = sources.prepared_split(builder, split)
    return f"{builder.info.full_name} {split}", tuple(features["label"].names), opened


def _check_classes(
    data: str, names: tuple[str, ...], classifier: Classifier, expected: Sequence[str] | None
) -> None:
    if classifier.classes != len(names):
        raise ValueError(
            f"The model has {classifier.classes} classes, and {data} has {len(names)}. Give the "
            "data that the model was trained for."
        )
    if expected is None or tuple(expected) == names:
        return
    if len(expected) != len(names):
        raise ValueError(
            f"The model was trained on {len(expected)} classes, and {data} has {len(names)}."
        )
    number = next(n for n, name in enumerate(names) if name != expected[n])
    raise ValueError(
        f"The model's class {number} is {expected[number]!r}, and that of {data} is "
        f"{names[number]!r}. Give the data that the model was trained for."
    )


def _batches(name: str, config: Config, split: sources.Split) -> Iterator[dict[str, Any]]:
    """NumPy arrays: images, labels, examples (-1 for filler), and weights as bool."""
    import tensorflow as tf

    batches = input_pipeline.validation(tf.distribute.get_strategy(), config, split)
    while True:
        try:
            batch = next(batches, None)
        except tf.errors.OpError as error:
            raise ValueError(f"The images of {name} cannot be read: {_reason(error)}") from error
        if batch is None:
            return
        arrays = {key: value.numpy() for key, value in batch.items()}
        yield {**arrays, "weights": arrays["weights"] > 0}


def _ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before each image's own; of equal scores the first comes first."""
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    is_before = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    return np.sum((scores > own) | ((scores == own) & is_before), axis=1)


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", error)).split())


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
    size, resize = classifier.image_size, _checked_resize(classifier.image_size, resize)
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

    try:
        content = tf.io.read_file(str(path))
        # All of it: a crop from above of where a file was cut short would not show it.
        tf.io.decode_image(content, channels=3, expand_animations=False)
        image = images.cropped(
            content, lambda shape: images.centre_box(shape, image_size, resize), image_size
        )
    except tf.errors.OpError as error:
        raise ValueError(f"'{path}' cannot be read as an image: {_reason(error)}") from error
    return image.numpy()
