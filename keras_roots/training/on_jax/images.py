"""Images on the device: in which order, how cropped and mirrored, as a function of numbers.

Examples form one endless sequence, as in `input_pipeline`: epoch after epoch,
each in an order of its own, of which update n takes the n-th run of
`batch_size`. An order depends on (seed, epoch), a crop on (seed, epoch,
example).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from keras_roots.data import Split
from keras_roots.training.config import Config

# The generator is named, lest another default of JAX change what a run draws.
_GENERATOR = "threefry2x32"
_ORDER, _CROP = 0, 1
UNIFORMS = 3  # That an example draws: where it is cropped, down and across, and mirroring.


class Images(NamedTuple):
    """A split on the device.

    Attributes:
        pixels: uint8 [examples, height, width, 3].
        labels: int32 [examples].
    """

    pixels: jax.Array
    labels: jax.Array


def to_train_on(split: Split, config: Config) -> Images:
    """All that a crop can show."""
    whole = config.augmentation == "paper" and not config.padding
    return _placed(split.images if whole else _centre(split.images, config), split.labels)


def to_evaluate_on(split: Split, config: Config) -> Images:
    """The centre crops."""
    return _placed(_centre(split.images, config), split.labels)


def _placed(pixels: np.ndarray, labels: np.ndarray) -> Images:
    return Images(jnp.asarray(pixels), jnp.asarray(labels.astype(np.int32)))


def _centre(images: np.ndarray, config: Config) -> np.ndarray:
    size = config.image_size
    top, left = ((length - size) // 2 for length in images.shape[1:3])
    return images[:, top : top + size, left : left + size]


def orders(seed: int, epochs: jax.Array, size: int) -> jax.Array:
    """The examples of some epochs in the order of each, int32 [epochs, size]."""

    def of_epoch(epoch):
        return jax.random.permutation(_key(seed, _ORDER, epoch), size)

    return jax.vmap(of_epoch)(epochs)


def uniforms(seed: int, epochs: jax.Array, examples: jax.Array) -> jax.Array:
    """What each of n examples draws in its epoch: float32 [n, UNIFORMS], 0 to less than 1."""

    def of_example(epoch, example):
        key = jax.random.fold_in(_key(seed, _CROP, epoch), example)
        return jax.random.uniform(key, (UNIFORMS,))

    return jax.vmap(of_example)(epochs, examples)


def _key(seed: int, stream: int, epoch):
    key = jax.random.fold_in(jax.random.key(seed, impl=_GENERATOR), stream)
    return jax.random.fold_in(key, epoch)


def augmented(pixels: jax.Array, drawn: jax.Array, config: Config) -> jax.Array:
    """Images, float32 [n, size, size, 3] of 0 to 255, cropped and mirrored.

    Args:
        pixels: uint8 [n, height, width, 3], of `to_train_on`.
        drawn: float32 [n, UNIFORMS].
    """
    if config.augmentation == "paper":
        pixels = _cropped(pixels, drawn[:, :2], config)
        if config.mirror:
            is_mirrored = drawn[:, 2, None, None, None] < 0.5
            pixels = jnp.where(is_mirrored, pixels[:, :, ::-1], pixels)
    return pixels.astype(jnp.float32)


def _cropped(pixels: jax.Array, drawn: jax.Array, config: Config) -> jax.Array:
    size, pad = config.image_size, config.padding
    if pad:
        background = np.array([round(value) for value in config.mean], np.uint8)
        count, height, width, _ = pixels.shape
        around = jnp.broadcast_to(background, (count, height + 2 * pad, width + 2 * pad, 3))
        pixels = around.at[:, pad:-pad, pad:-pad].set(pixels)
    last = jnp.array([length - size for length in pixels.shape[1:3]])
    # A product can be rounded up to the room itself.
    corners = jnp.minimum((drawn * (last + 1)).astype(jnp.int32), last)

    def crop(image, corner):
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (size, size, 3))

    return jax.vmap(crop)(pixels, corners)
