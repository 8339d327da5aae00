"""What is done to batches on the device that trains: mirroring, colours, mixing.

The input pipeline, which so has little more to do than to decode, gives each
example some numbers from 0 to 1 that decide of it.

Colour jitter and lighting are fb.resnet.torch's, for the augmentation of the
paper's ResNet-200: brightness, contrast and saturation, each by a factor of
1 +- jitter, in any order, and noise along the principal components of
ImageNet's colours. All four are affine in a pixel's colours, given the mean
colour of the image; so they are one product, and nothing is clipped in between.
Mixup and CutMix are Keras's layers, on groups of neighbouring examples.
"""

import functools
import itertools
import math
from typing import Any

import keras

from keras_roots.data.settings import Settings

# Examples are mixed with those of their group, so that who is mixed with whom does not depend on
# how many replicas there are. A replica's part of a batch is some groups.
MIXING_GROUP = 8

_GRAY = (0.299, 0.587, 0.114)
# fb.resnet.torch's principal components of ImageNet's colours (0 to 1).
_EIGENVALUES = (0.2175, 0.0188, 0.0045)
_EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
_ORDERS = tuple(itertools.permutations(range(3)))

# Uniform numbers that an example draws: mirroring, jitter 3 and its order, lighting 6.
UNIFORMS = 11


def drawn(uniforms, config: Settings) -> dict[str, Any]:
    """What numbers from 0 to 1, [examples, UNIFORMS], decide of mirroring and colours."""
    import tensorflow as tf

    if config.augmentation == "none":
        return {}
    numbers = {}
    if config.mirror:
        numbers["mirror"] = uniforms[:, 0] < 0.5
    if config.augmentation == "full" and config.color_jitter:
        numbers["jitter"] = 1 + config.color_jitter * (2 * uniforms[:, 1:4] - 1)
        numbers["order"] = tf.cast(uniforms[:, 4] * len(_ORDERS), tf.int32)
    if config.augmentation == "full" and config.lighting:
        # Box and Muller's normal numbers.
        radius = tf.sqrt(-2 * tf.math.log1p(-uniforms[:, 5:8]))
        normal = radius * tf.cos(2 * math.pi * uniforms[:, 8:11])
        numbers["lighting"] = config.lighting * normal
    return numbers


def augmented(images, numbers: dict[str, Any]):
    """Images, float32 of about 0 to 255, mirrored and recoloured as `drawn` says.

    Args:
        images: uint8 [examples, height, width, 3].
    """
    import tensorflow as tf

    if "mirror" in numbers:
        mirror = numbers["mirror"][:, tf.newaxis, tf.newaxis, tf.newaxis]
        images = tf.where(mirror, tf.reverse(images, [2]), images)
    images = tf.cast(images, tf.float32)
    if "jitter" in numbers or "lighting" in numbers:
        images = _recoloured(images, numbers)
    return images


def _recoloured(images, numbers: dict[str, Any]):
    import tensorflow as tf

    count = tf.shape(images)[0]
    matrix = tf.eye(3, batch_shape=[count])  # Colours are columns.
    offset = tf.zeros([count, 3, 1])
    if "jitter" in numbers:
        mean = tf.reduce_mean(images, [1, 2])[:, :, tf.newaxis]
        gray = tf.tile(tf.constant([[_GRAY]]), [count, 3, 1])  # [count, 3, 3]
        orders = tf.gather(tf.constant(_ORDERS), numbers["order"])
        for place in range(3):
            kind = orders[:, place]
            factor = tf.gather(numbers["jitter"], kind, batch_dims=1)[:, tf.newaxis, tf.newaxis]
            of_mean = gray @ (matrix @ mean + offset)  # Gray of the image's mean, so far.
            blended = factor * tf.eye(3) + (1 - factor) * gray
            is_contrast, is_saturation = (
                (kind == number)[:, tf.newaxis, tf.newaxis] for number in (1, 2)
            )
            step = tf.where(is_saturation, blended, factor * tf.eye(3))
            added = tf.where(is_contrast, (1 - factor) * of_mean, 0.0)
            matrix, offset = step @ matrix, step @ offset + added
    if "lighting" in numbers:
        scaled = numbers["lighting"] * (255 * tf.constant(_EIGENVALUES))
        offset += tf.constant(_EIGENVECTORS) @ scaled[:, :, tf.newaxis]
    shape = tf.shape(images)
    pixels = tf.reshape(images, [count, -1, 3])
    pixels = tf.matmul(pixels, matrix, transpose_b=True) + tf.transpose(offset, [0, 2, 1])
    return tf.reshape(pixels, shape)


def mixing_layers(config: Settings) -> dict[str, Any]:
    """Keras's layers that a configuration asks for, by "mixup" and "cutmix".

    Raises:
        ValueError: this Keras has no such layer.
    """
    layers = {}
    if config.mixup:
        layers["mixup"] = _keras_layer("MixUp", alpha=config.mixup)
    if config.cutmix:
        layers["cutmix"] = _keras_layer("CutMix", factor=(config.cutmix, config.cutmix))
    return layers


def mixing_of_group(layers: dict[str, Any], image_size: int, seed) -> dict[str, Any]:
    """How the examples of one group are mixed.

    Args:
        layers: of `mixing_layers`.
        seed: two int64, of the group.

    Returns:
        For each example its `partner` in the group, the `share` of its own
        label, and of its own pixels, `own` [group, height, width, 1].
    """
    import tensorflow as tf

    images = tf.zeros([MIXING_GROUP, image_size, image_size, 1])
    found = []
    for number, (name, layer) in enumerate(layers.items()):
        layer.generator.begin(seed, stream=1 + number)
        drawn = layer.get_random_transformation(images, training=True)
        share = tf.cast(drawn["mix_weight"], tf.float32)
        if name == "mixup":
            own = tf.broadcast_to(tf.reshape(share, [-1, 1, 1, 1]), images.shape)
        else:
            own = 1.0 - tf.cast(drawn["batch_masks"], tf.float32)
            share = tf.reduce_mean(own, [1, 2, 3])  # In whole pixels.
        found.append((tf.cast(drawn["permutation_order"], tf.int32), share, own))
    if len(found) == 2:
        first = tf.random.stateless_uniform([], seed) < 0.5
        found = [tuple(tf.where(first, a, b) for a, b in zip(*found, strict=True))]
    partner, share, own = found[0]
    return {"partner": partner, "share": share, "own": tf.cast(255 * own + 0.5, tf.uint8)}


def mixed(images, targets, batch: dict[str, Any]):
    """Images and targets, each example mixed with its partner."""
    import tensorflow as tf

    if "partner" not in batch:
        return images, targets
    groups = tf.range(tf.shape(images)[0]) // MIXING_GROUP
    partner = groups * MIXING_GROUP + batch["partner"]
    # With one that could not be read nothing is mixed.
    is_read = tf.gather(batch["weights"], partner) > 0
    share = tf.where(is_read, batch["share"], 1.0)[:, tf.newaxis]
    own = tf.cast(batch["own"], tf.float32) / 255
    own = tf.where(is_read[:, tf.newaxis, tf.newaxis, tf.newaxis], own, 1.0)
    return (
        own * images + (1 - own) * tf.gather(images, partner),
        share * targets + (1 - share) * tf.gather(targets, partner),
    )


def rand_augment(config: Settings):
    """A function of an image, uint8, and two int64 of seed; or None.

    Raises:
        ValueError: this Keras has no such layer.
    """
    if not config.rand_augment:
        return None
    import tensorflow as tf

    layer = _keras_layer(
        "RandAugment",
        value_range=(0, 255),
        num_ops=config.rand_augment,
        factor=config.rand_augment_factor,
        data_format="channels_last",
        dtype="float32",
    )

    layer.build((None, config.image_size, config.image_size, 3))

    def apply(image, seed):
        layer.generator.begin(seed, stream=0)
        images = tf.cast(image, tf.float32)[tf.newaxis]
        drawn = layer.get_random_transformation(images, training=True)
        for number in range(config.rand_augment):
            # Keras computes all of its operations each time, and takes one's result.
            operations = [
                functools.partial(getattr(layer, name).transform_images, images, transformation)
                for name, transformation in drawn["transforms"].items()
            ]
            images = tf.switch_case(drawn["layer_idxes"][number], operations)
        changed = tf.clip_by_value(tf.ensure_shape(images[0], image.shape), 0, 255)
        return tf.cast(changed + 0.5, tf.uint8)

    return apply


class ExampleSeeds(keras.random.SeedGenerator):
    """Seeds for Keras's random layers that an example decides, not the calls before it."""

    def __init__(self):  # Without Keras's, which makes a variable.
        self._base: Any = None
        self._drawn = 0

    def begin(self, seed, stream: int) -> None:
        """Takes two int64, of the example, for those that follow; streams draw other ones."""
        import tensorflow as tf

        base = tf.random.stateless_uniform([2], seed, None, None, tf.int32)
        self._base, self._drawn = tf.bitcast(base, tf.uint32), stream << 16

    def next(self, ordered=True):  # noqa: ARG002 - Keras's signature.
        import tensorflow as tf

        self._drawn += 1
        return tf.stack([self._base[0], self._base[1] + tf.constant(self._drawn, tf.uint32)])


def _keras_layer(name: str, **arguments):
    layer = getattr(keras.layers, name, None)
    if layer is None:
        raise ValueError(f"Keras {keras.__version__} has no {name}; a newer Keras has it.")
    made = layer(**arguments)
    made.generator = ExampleSeeds()
    return made
