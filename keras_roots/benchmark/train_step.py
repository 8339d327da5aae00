"""Train steps on TensorFlow: dense, with filter groups, and the latter in stock Keras.

What is timed is `train_on_batch` on random images: forward pass, gradients and
update, compiled by `tf.function` and not by XLA (Keras's own choice on a CPU).
"""

import keras
import numpy as np

from keras_roots.layers import GroupedConv2D
from keras_roots.measure import Timings, interleaved
from keras_roots.models import build
from keras_roots.requirements import require_tensorflow
from keras_roots.topology import RootLike, as_topology


def train_step(
    model: str,
    root: RootLike,
    *,
    image_size: int,
    batch_size: int,
    rounds: int,
    progress=None,
) -> dict[str, Timings]:
    """Times a train step of three forms of one network, interleaved.

    Args:
        model: a registry name.
        root: the filter groups of the two grouped forms.
        image_size: height and width, in pixels.
        batch_size: images in a step.
        rounds: timed steps of each form.
        progress: see `interleaved`.

    Returns:
        Timings of "dense", of the topology such as "root-16", and of "root-16,
        stock keras.layers.Conv2D".

    Raises:
        ValueError: an argument is not as above; before the models are built.
    """
    require_tensorflow("The benchmark")
    if batch_size < 1 or rounds < 1:
        raise ValueError(
            "Expected batch_size and rounds of 1 or more. Received: "
            f"batch_size={batch_size}, rounds={rounds}"
        )
    topology = as_topology(root)
    shape = (image_size, image_size, 3)
    grouped = build(model, root=topology, input_shape=shape)
    models = {
        "dense": build(model, root=1, input_shape=shape),
        str(topology): grouped,
        f"{topology}, stock keras.layers.Conv2D": _with_stock_convolutions(grouped),
    }
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, *shape)).astype(np.float32)
    labels = rng.integers(0, grouped.output_shape[-1], batch_size)
    for each in models.values():
        each.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    candidates = {
        name: (lambda each=each: each.train_on_batch(images, labels))
        for name, each in models.items()
    }
    return interleaved(candidates, rounds=rounds, warmup=2, progress=progress)


def _with_stock_convolutions(model: keras.Model) -> keras.Model:
    """The same network, its normalisation included, but for what Keras makes of the groups."""

    def stock(layer):
        kind = keras.layers.Conv2D if isinstance(layer, GroupedConv2D) else type(layer)
        return kind.from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=stock)
