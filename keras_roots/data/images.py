"""From the content of an image file to pixels of one size, and to what a model takes.

Only that part of a JPEG is decoded which is cropped. Grayscale, CMYK, PNG, GIF
and BMP are read whatever the file is called.
"""

import os
from collections.abc import Callable

import keras
import numpy as np

PREPROCESSING = ("none", "torch", "caffe", "tf")
ATTEMPTS = 10  # To draw a rectangle that lies within the image.

_JPEG = (b"\xff\xd8\xff", b"\xff\xd9")
_PNG = (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82")


def centre_box(shape, image_size: int, resize: int):
    """[y, x, height, width] of the central square that becomes `image_size` pixels.

    As of an image whose shorter side was `resize` pixels.

    Args:
        shape: height, width (and more) of the image, an int32 tensor.
    """
    import tensorflow as tf

    side = _side(shape, image_size, resize)
    return tf.stack([(shape[0] - side) // 2, (shape[1] - side) // 2, side, side])


def random_box(shape, image_size: int, resize: int, uniforms):
    """A square of that size anywhere.

    Args:
        uniforms: two numbers from 0 to less than 1, float32.
    """
    import tensorflow as tf

    side = _side(shape, image_size, resize)
    room = tf.cast(shape[:2] - side + 1, tf.float32)
    # A product can be rounded up to the room itself.
    corner = tf.minimum(tf.cast(room * uniforms, tf.int32), shape[:2] - side)
    return tf.concat([corner, [side, side]], 0)


def random_resized_box(shape, min_area: float, uniforms):
    """A rectangle of `min_area` to all of the image's area, 3:4 to 4:3, anywhere.

    As fb.resnet.torch draws it: the area uniformly, then the shape, up to ten
    times until it lies within the image; else the central square.
    (TensorFlow's sample_distorted_bounding_box draws small areas more often.)

    Args:
        uniforms: `ATTEMPTS` x 5 numbers from 0 to less than 1, float32.
    """
    import tensorflow as tf

    area, ratio, is_swapped, at_y, at_x = tf.unstack(tf.reshape(uniforms, [ATTEMPTS, 5]), axis=1)
    size = tf.cast(shape[:2], tf.float32)
    area = (min_area + (1 - min_area) * area) * size[0] * size[1]
    ratio = 3 / 4 + (4 / 3 - 3 / 4) * ratio
    ratio = tf.where(is_swapped < 0.5, 1 / ratio, ratio)
    height = tf.maximum(tf.round(tf.sqrt(area / ratio)), 1)
    width = tf.maximum(tf.round(tf.sqrt(area * ratio)), 1)
    fits = tf.logical_and(height <= size[0], width <= size[1])
    y, x = (
        tf.minimum(tf.floor((room + 1) * u), room)
        for room, u in ((size[0] - height, at_y), (size[1] - width, at_x))
    )
    first = tf.argmax(fits)
    drawn = tf.cast(tf.gather(tf.stack([y, x, height, width], axis=1), first), tf.int32)
    return tf.where(fits[first], drawn, centre_box(shape, 1, 1))


def _side(shape, image_size: int, resize: int):
    import tensorflow as tf

    shorter = tf.minimum(shape[0], shape[1])
    side = tf.round(tf.cast(shorter, tf.float32) * (image_size / resize))
    return tf.maximum(tf.cast(side, tf.int32), 1)


def cropped(content, box_of: Callable, image_size: int, *, is_jpeg: bool | None = None):
    """The part of an image that `box_of` its shape names, resized (bilinear).

    Args:
        content: of the file, a string tensor; or the image itself, uint8
            [height, width, 3].
        is_jpeg: whether the file is a JPEG, where that is known.

    Returns:
        uint8 [image_size, image_size, 3].

    Raises:
        tf.errors.InvalidArgumentError: when run, if it cannot be decoded.
    """
    import tensorflow as tf

    def part_of_jpeg():
        box = box_of(tf.io.extract_jpeg_shape(content))
        return tf.io.decode_and_crop_jpeg(content, box, channels=3)

    def part_of(image):
        box = box_of(tf.shape(image))
        return tf.slice(image, [box[0], box[1], 0], [box[2], box[3], 3])

    def part_of_other():
        return part_of(tf.io.decode_image(content, channels=3, expand_animations=False))

    content = tf.convert_to_tensor(content)
    if content.dtype == tf.uint8:
        image = part_of(content)
    elif is_jpeg is None:
        image = tf.cond(_begins(content, _JPEG[0]), part_of_jpeg, part_of_other)
    else:
        image = part_of_jpeg() if is_jpeg else part_of_other()
    image.set_shape([None, None, 3])
    size = [image_size, image_size]
    resized = tf.raw_ops.ResizeBilinear(
        images=image[tf.newaxis], size=size, half_pixel_centers=True
    )
    return tf.ensure_shape(tf.cast(resized[0] + 0.5, tf.uint8), [*size, 3])


def centre_crop(content, image_size: int, resize: int, *, is_jpeg: bool | None = None):
    """`cropped` to the box of `centre_box`."""
    return cropped(
        content, lambda shape: centre_box(shape, image_size, resize), image_size, is_jpeg=is_jpeg
    )


def require_readable(path: str | os.PathLike) -> None:
    """Raises a ValueError unless a file is an image, and a whole one."""
    import tensorflow as tf

    try:
        tf.io.decode_image(tf.io.read_file(str(path)), channels=3, expand_animations=False)
    except tf.errors.OpError as error:
        reason = " ".join(str(error.message).split())
        raise ValueError(f"'{path}' cannot be read as an image: {reason}") from error


def or_blank(
    read: Callable, image_of: Callable, image_size: int, *, careful: bool = False, is_bad=None
):
    """An image, or where it cannot be read, a black one.

    To try each image costs as much as to decode a small one. So those whose
    files begin and end as they should are not tried, unless `careful`.

    Args:
        read: gives the content of the file and the label.
        image_of: function of the content, and of whether it is a JPEG (None:
            it is not known), to the image.
        is_bad: whether it is known to be unreadable, a tensor; or None.

    Returns:
        The image, the label (0 where there is no file), and whether it was read.
    """
    import tensorflow as tf

    def read_and_decoded(_):
        content, label = read()
        is_cut = _begins(content, _JPEG[0]) & ~_ends(content, _JPEG[1])
        # A crop from above of where a file was cut short would not show it.
        check = tf.cond(is_cut, lambda: tf.size(tf.io.decode_jpeg(content)), lambda: 0)
        with tf.control_dependencies([check]):
            return image_of(tf.identity(content), None), label, tf.constant(True)

    def blank():
        image = tf.zeros([image_size, image_size, 3], tf.uint8)
        return image, tf.constant(0, tf.int64), tf.constant(False)

    def tried():
        attempt = tf.data.Dataset.from_tensors(0).map(read_and_decoded).ignore_errors()
        attempt = attempt.concatenate(tf.data.Dataset.from_tensors(blank()))
        return attempt.take(1).get_single_element()

    if is_bad is not None:
        return tf.cond(is_bad, blank, lambda: or_blank(read, image_of, image_size, careful=careful))
    if careful:
        return tried()
    content, label = read()
    is_jpeg, is_png = (
        _begins(content, begin) & _ends(content, end) for begin, end in (_JPEG, _PNG)
    )

    def decoded(known: bool):
        return lambda: (image_of(content, known), label, tf.constant(True))

    kind = tf.where(is_jpeg, 0, tf.where(is_png, 1, 2))
    return tf.switch_case(kind, [decoded(True), decoded(False), tried])


def _begins(content, bytes_: bytes):
    import tensorflow as tf

    return tf.strings.substr(content, 0, len(bytes_)) == bytes_


def _ends(content, bytes_: bytes):
    import tensorflow as tf

    begin = tf.maximum(tf.strings.length(content) - len(bytes_), 0)
    return tf.strings.substr(content, begin, len(bytes_)) == bytes_


def default_resize(image_size: int) -> int:
    """The shorter side in pixels before a crop, 256 for 224; small images are not cropped."""
    return image_size if image_size < 64 else round(image_size * 256 / 224)


def checked_resize(image_size: int, resize: int | None) -> int:
    """The given one, or the default.

    Raises:
        ValueError: it is smaller than the image size.
    """
    resize = default_resize(image_size) if resize is None else resize
    if resize < image_size:
        raise ValueError(
            f"Expected resize of the image size ({image_size}) or more. Received: {resize}"
        )
    return resize


def check_channels(preprocessing: str, channels: int) -> None:
    """Raises a ValueError if it is of colours and there are none."""
    if channels == 1 and preprocessing in ("torch", "caffe"):
        raise ValueError(
            f"The preprocessing {preprocessing!r} is of colours; the model takes one channel."
        )


def check_preprocessing(preprocessing: str) -> None:
    """Raises a ValueError unless it is one of `PREPROCESSING`."""
    if preprocessing not in PREPROCESSING:
        raise ValueError(
            f"Expected preprocessing as one of: {', '.join(PREPROCESSING)}. "
            f"Received: {preprocessing!r}"
        )


def preprocessed(pixels: np.ndarray, preprocessing: str) -> np.ndarray:
    """Images of 0 to 255, [..., channels], as a model takes them; may change those of floats.

    Returns:
        float32; of "none" the same.
    """
    if preprocessing == "none":
        return pixels
    if isinstance(pixels, np.ndarray):
        pixels = pixels.astype(np.float32, copy=False)
    return keras.applications.imagenet_utils.preprocess_input(
        pixels, data_format="channels_last", mode=preprocessing
    )
