"""What happens to an image before a model takes it, and whether a file does it by itself.

Inside a file, the normalisation is a 1x1 convolution of the colours (BGR, a scale and an offset are
all one product), and the crop at the centre a slice and a bilinear resize: operators that every
runtime has, in integers too.
"""

import dataclasses
from typing import Any

import numpy as np

from keras_roots.data import check_channels, check_preprocessing, default_resize, preprocessed
from keras_roots.export.inference_graph import Convolution, InferenceGraph, Step


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How images of 0 to 255 become what a model takes.

    Attributes:
        mode: "none": the model takes 0 to 255; "torch", "caffe" or "tf": as
            keras.applications.imagenet_utils.preprocess_input has it.
        inside: whether a file is to do it, and takes images of 0 to 255.
        source_size: (height, width) of whole images, which the file is to crop
            at the centre and to resize; None: it takes the model's size.
        resize: the shorter side in pixels that whole images are resized to
            before the crop; by default 256/224 of the model's size (and the
            size itself below 64).

    Raises:
        ValueError: an argument is not as above.
    """

    mode: str = "none"
    inside: bool = False
    source_size: tuple[int, int] | None = None
    resize: int | None = None

    def __post_init__(self):
        check_preprocessing(self.mode)
        if self.source_size is not None and not self.inside:
            raise ValueError("Images of another size need the preprocessing inside: inside=True")
        if self.source_size is not None and min(self.source_size) < 1:
            raise ValueError(f"Expected a size of 1 or more. Received: {self.source_size}")

    def input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of one image that a file takes, of a model that takes `shape`."""
        return shape if self.source_size is None else (*self.source_size, shape[-1])

    def to_caller(self) -> str:
        """What is left to do for whoever runs the file."""
        return "none" if self.inside else self.mode


def as_preprocessing(given: "str | Preprocessing") -> Preprocessing:
    return given if isinstance(given, Preprocessing) else Preprocessing(given)


def with_preprocessing(graph: InferenceGraph, preprocessing: Preprocessing) -> InferenceGraph:
    """The graph of a model with what is to be inside before it.

    Raises:
        ValueError: the model is not of one image, with the colours that it takes.
    """
    if not preprocessing.inside:
        return graph
    shape = _image_shape(graph)
    (number,), steps = graph.inputs, []
    shapes, free = dict(graph.shapes), min(graph.shapes)
    if preprocessing.mode != "none":
        step = Step(
            "normalization", _normalization(preprocessing.mode, shape), (free - 1,), (number,)
        )
        steps.append(step)
        shapes[free - 1] = shape
        number, free = free - 1, free - 1
    if preprocessing.source_size is not None:
        crop = _crop(shape, preprocessing.source_size, preprocessing.resize)
        steps.append(Step("crop", crop, (free - 1,), (number,)))
        shapes[free - 1] = preprocessing.input_shape(shape)
        number = free - 1
    return dataclasses.replace(
        graph, steps=(*reversed(steps), *graph.steps), inputs=(number,), shapes=shapes
    )


def apply(images: np.ndarray, preprocessing: Preprocessing, shape: tuple[int, ...]) -> np.ndarray:
    """What a file does inside, done before: float32 [n, *shape]."""
    if not preprocessing.inside:
        return images
    if preprocessing.source_size is not None:
        images = np.asarray(_crop(shape, preprocessing.source_size, preprocessing.resize)(images))
    return preprocessed(np.array(images, np.float32), preprocessing.mode)


def _image_shape(graph: InferenceGraph) -> tuple[int, int, int]:
    shapes = graph.input_shapes
    if len(shapes) != 1 or len(shapes[0]) != 3 or shapes[0][-1] not in (1, 3):
        raise ValueError(
            "Preprocessing is for a model of one image, [height, width, 1 or 3]. Received: "
            f"'{graph.name}' with inputs {', '.join(map(str, shapes))}"
        )
    return shapes[0]


def _normalization(mode: str, shape: tuple[int, int, int]) -> Convolution:
    """As it is linear, it is known from what it makes of black and of each colour."""
    channels = shape[-1]
    check_channels(mode, channels)
    colours = np.concatenate([np.zeros((1, channels)), 255 * np.eye(channels)]).astype(np.float32)
    black, *others = preprocessed(colours, mode).astype(np.float64)
    kernel = (np.stack(others) - black) / 255
    return Convolution(
        kernel=kernel[np.newaxis, np.newaxis].astype(np.float32),
        bias=black.astype(np.float32),
        input_shape=shape,
        strides=(1, 1),
        dilation_rate=(1, 1),
        padding=((0, 0), (0, 0)),
    )


@dataclasses.dataclass(frozen=True)
class _Crop:
    """A part of whole images, resized (bilinear): box is (top, left, height, width)."""

    box: tuple[int, int, int, int]
    size: tuple[int, int]

    def __call__(self, images: Any):
        import tensorflow as tf

        top, left, height, width = self.box
        part = images[:, top : top + height, left : left + width]
        if (height, width) == self.size:
            return part
        return tf.raw_ops.ResizeBilinear(
            images=tf.cast(part, tf.float32), size=self.size, half_pixel_centers=True
        )


def _crop(shape: tuple, source_size: tuple[int, int], resize: int | None) -> _Crop:
    """At the centre, as `data.images.centre_box` has it."""
    height, width, _ = shape
    if height != width:
        raise ValueError(f"A crop is for a model of square images. Received: one of {shape}")
    resize = default_resize(height) if resize is None else resize
    side = max(1, round(min(source_size) * height / resize))
    top, left = ((length - side) // 2 for length in source_size)
    return _Crop((top, left, side, side), (height, width))
