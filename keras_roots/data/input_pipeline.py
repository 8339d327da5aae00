"""Batches as a pure function of (seed, epoch, example).

Examples form one endless sequence: epoch after epoch, each in an order of its
own. Update n takes the n-th run of `batch_size` of them, a replica its share of
it; so nothing is left out or comes twice, however many replicas there are, and
going on at any update needs nothing but its number. An example's crop and
colours depend on (seed, epoch, example) alone.

An image that cannot be read is black and has weight 0.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from keras_roots.data import augmentation, images
from keras_roots.data.settings import Crops, Settings
from keras_roots.data.split import Source, Split

_PREFETCHED_BATCHES = 2


@dataclasses.dataclass(frozen=True)
class Share:
    """Which part of each batch an input pipeline makes, and how.

    Attributes:
        replicas: over all pipelines; each takes an equal share of a batch.
        pipelines, index: how many pipelines there are, and which one this is.
        careful: try each image; see `images.or_blank`.
        bad: numbers of examples that are known to be unreadable.
    """

    replicas: int = 1
    pipelines: int = 1
    index: int = 0
    careful: bool = False
    bad: frozenset[int] = frozenset()


def check(config: Settings, replicas: int) -> None:
    """Raises a ValueError if a batch does not fall into equal parts."""
    parts = replicas * config.accumulation
    if config.batch_size % parts:
        below = config.batch_size // parts * parts
        raise ValueError(
            f"Expected a batch_size that {replicas} replicas x {config.accumulation} pieces "
            f"(accumulation) divide. Received: {config.batch_size}. Take "
            f"{f'{below} or ' if below else ''}{below + parts}."
        )
    if (
        augmentation.mixing_layers(config)
        and config.batch_size // parts % augmentation.MIXING_GROUP
    ):
        raise ValueError(
            f"mixup and cutmix mix groups of {augmentation.MIXING_GROUP} examples, of which a "
            f"replica's piece is a multiple. Received: {config.batch_size} / {parts} = "
            f"{config.batch_size // parts}"
        )


def steps_until(epoch: int, config: Crops, split: Split) -> int:
    """The number of updates after which `epoch` epochs have been seen whole."""
    return -(-epoch * split.size // config.batch_size)


def train_batches(config: Settings, split: Split, first: int, last: int, share: Share):
    """The batches of one replica after the other, of updates `first` to before `last`.

    Returns:
        A tf.data.Dataset of dictionaries: images, uint8 [n, size, size, 3];
        labels; examples, their numbers; weights, 1, or 0 for what could not
        be read; and uniforms, from which `augmentation` goes on.
    """
    import tensorflow as tf

    each = config.batch_size // share.replicas
    transform = augmentation.rand_augment(config)

    def examples_at(positions):
        epochs, places = positions // split.size, positions % split.size
        seeds = tf.fill([each], tf.constant(config.seed, tf.int64))
        numbers = tf.raw_ops.RandomIndexShuffle(
            index=places,
            seed=tf.stack([tf.zeros_like(seeds), seeds, epochs], axis=1),
            max_index=tf.constant(split.size - 1, tf.int64),
        )
        return numbers, tf.stack([_stream(config.seed, epochs), numbers], axis=1)

    def element(number, seed):
        uniforms = tf.random.stateless_uniform([augmentation.UNIFORMS + 5 * images.ATTEMPTS], seed)
        of_colours, of_crop = tf.split(uniforms, [augmentation.UNIFORMS, -1])

        def image_of(content, is_jpeg):
            image = _cropped(content, config, of_crop, is_jpeg)
            return image if transform is None else transform(image, seed)

        found = _element(split, number, image_of, config.image_size, share)
        return {**found, "uniforms": of_colours}

    starts = _starts(first, last, config.batch_size, share)
    batches = _batches(starts, each, examples_at, element)
    layers = augmentation.mixing_layers(config)
    if layers:
        mixing = _mixing(starts, each, config, layers)
        batches = tf.data.Dataset.zip(batches, mixing).map(_plain(lambda a, b: {**a, **b}))
    return batches.prefetch(_PREFETCHED_BATCHES)


def validation_batches(config: Crops, split: Split, share: Share):
    """The same of a split's centre crops, in order; each example once.

    What fills up the last batch has weight 0.
    """
    import tensorflow as tf

    each = config.batch_size // share.replicas

    def examples_at(positions):
        return tf.minimum(positions, split.size - 1), positions >= split.size

    def centre_of(content, is_jpeg):
        return images.centre_crop(content, config.image_size, config.resize, is_jpeg=is_jpeg)

    def element(number, is_filler):
        found = _element(split, number, centre_of, config.image_size, share)
        found["examples"] = tf.where(is_filler, tf.constant(-1, tf.int64), number)
        found["weights"] = tf.where(is_filler, 0.0, found["weights"])
        return found

    starts = _starts(0, steps_until(1, config, split), config.batch_size, share)
    return _batches(starts, each, examples_at, element).prefetch(_PREFETCHED_BATCHES)


class Batches:
    """Batches over the replicas of a strategy, that goes on where an image cannot be decoded.

    Args:
        strategy: of tf.distribute.
        make: function of (first update, share) to a dataset.
        first: the update to begin at.
    """

    def __init__(self, strategy, make: Callable, first: int = 0):
        self._strategy, self._make, self._next = strategy, make, first
        self._careful, self._bad = False, frozenset[int]()
        self._iterator: Iterator | None = None

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Any:
        import tensorflow as tf

        while True:
            try:
                if self._iterator is None:
                    self._iterator = self._distributed()
                batch = next(self._iterator)
            except (
                tf.errors.InvalidArgumentError,
                tf.errors.NotFoundError,
                tf.errors.PermissionDeniedError,
                tf.errors.DataLossError,
            ):
                # An image of this batch looked whole and is not, or is gone. Try each of them.
                if self._careful:
                    raise
                self._careful, self._iterator = True, None
                continue
            self._next += 1
            if self._careful:  # The others need not be tried from here on.
                self._bad |= set(unread(self._strategy, batch))
                self._careful, self._iterator = False, None
            return batch

    def _distributed(self) -> Iterator:
        def of_pipeline(context):
            share = Share(
                context.num_replicas_in_sync,
                context.num_input_pipelines,
                context.input_pipeline_id,
                self._careful,
                self._bad,
            )
            return self._make(self._next, share)

        return iter(self._strategy.distribute_datasets_from_function(of_pipeline))


def unread(strategy, batch) -> list[int]:
    """The numbers of the examples of this worker's batch that could not be read."""
    pairs = zip(
        *(strategy.experimental_local_results(batch[name]) for name in ("examples", "weights")),
        strict=True,
    )
    return [int(n) for e, w in pairs for n in e.numpy()[w.numpy() == 0] if n >= 0]


def training(strategy, config: Settings, source: Source, first: int, last: int) -> Batches:
    """The batches to train on, of updates `first` to before `last`."""

    def make(first: int, share: Share):
        return train_batches(config, source.train, first, last, share)

    return Batches(strategy, make, first)


def validation(strategy, config: Crops, split: Split) -> Batches:
    """The batches to evaluate on."""

    def make(first: int, share: Share):
        local = share.replicas // share.pipelines
        return validation_batches(config, split, share).skip(first * local)

    return Batches(strategy, make)


def _starts(first: int, last: int, batch_size: int, share: Share):
    """The position in the sequence at which each batch of each of our replicas begins."""
    import tensorflow as tf

    local = share.replicas // share.pipelines
    each = batch_size // share.replicas

    def start(number):
        update, replica = number // local, share.index * local + number % local
        return update * batch_size + replica * each

    return tf.data.Dataset.range(first * local, last * local).map(_plain(start))


def _batches(starts, each: int, examples_at: Callable, element: Callable):
    """Batches of `each` elements.

    Args:
        examples_at: function of positions to what `element` is made of.
    """
    import tensorflow as tf

    def of_batch(start):
        positions = start + tf.range(each, dtype=tf.int64)
        return tf.data.Dataset.from_tensor_slices(examples_at(positions))

    elements = starts.flat_map(_plain(of_batch)).map(
        _plain(element), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    return elements.batch(each, drop_remainder=True, num_parallel_calls=tf.data.AUTOTUNE)


def _mixing(starts, each: int, config: Settings, layers: dict):
    import tensorflow as tf

    def of_group(position):
        seed = tf.stack([_stream(config.seed, tf.constant(0, tf.int64)), -1 - position])
        return augmentation.mixing_of_group(layers, config.image_size, seed)

    def groups_of(start):
        return tf.data.Dataset.range(start, start + each, augmentation.MIXING_GROUP)

    def flat(batch):
        return {name: tf.reshape(v, [each, *v.shape[2:]]) for name, v in batch.items()}

    groups = starts.flat_map(_plain(groups_of))
    groups = groups.map(_plain(of_group), num_parallel_calls=tf.data.AUTOTUNE)
    return groups.batch(each // augmentation.MIXING_GROUP, drop_remainder=True).map(_plain(flat))


def _plain(function: Callable) -> Callable:
    """As it is: nothing here is Python that stands for control flow of TensorFlow."""
    import tensorflow as tf

    return tf.autograph.experimental.do_not_convert(function)


def _element(split: Split, number, image_of: Callable, image_size: int, share: Share) -> dict:
    import tensorflow as tf

    if split.pixels or split.arrays is not None:
        image, label = split.read(number)
        image = image if split.pixels else image_of(image, None)
        readable = tf.constant(True)
    else:
        image, label, readable = images.or_blank(
            lambda: split.read(number),
            image_of,
            image_size,
            careful=share.careful,
            is_bad=tf.reduce_any(number == sorted(share.bad)) if share.bad else None,
        )
    return {
        "images": image,
        "labels": label,
        "examples": number,
        "weights": tf.cast(readable, tf.float32),
    }


def box(shape, config: Settings, uniforms):
    """What is cropped of an image to train on, [y, x, height, width].

    Args:
        shape: height, width (and more) of the image, an int32 tensor.
        uniforms: 5 x `images.ATTEMPTS` numbers from 0 to less than 1.
    """
    if config.augmentation == "full":
        return images.random_resized_box(shape, config.min_area, uniforms)
    if config.augmentation == "none" or config.padding:
        return images.centre_box(shape, config.image_size, config.resize)
    return images.random_box(shape, config.image_size, config.resize, uniforms[:2])


def _cropped(content, config: Settings, uniforms, is_jpeg: bool | None):
    import tensorflow as tf

    size, pad = config.image_size, config.padding
    image = images.cropped(
        content, lambda shape: box(shape, config, uniforms), size, is_jpeg=is_jpeg
    )
    if not pad:
        return image
    colours = [  # What is 0 once the mean is subtracted.
        tf.pad(image[..., n], [[pad, pad]] * 2, constant_values=round(config.mean[n]))
        for n in range(3)
    ]
    corner = tf.cast(uniforms[:2] * (2 * pad + 1), tf.int32)
    return tf.slice(tf.stack(colours, axis=-1), [corner[0], corner[1], 0], [size, size, 3])


def _stream(seed: int, epoch):
    """One number of two."""
    return epoch + (seed << 24)
