"""The network of a configuration: for training, and for those who use it."""

import contextlib

import keras
import numpy as np

from keras_roots import topology
from keras_roots.layers import Conv2D
from keras_roots.lowering import choice
from keras_roots.models import build, network
from keras_roots.surgery import without_auxiliary_heads
from keras_roots.training.config import Config

_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def for_training(config: Config, classes: int, replicas: int = 1) -> keras.Model:
    """From images, [batch, size, size, 3] of 0 to 255, to logits.

    Its weights depend on the seed only. Batch normalisation is over all
    replicas' images. Where TensorFlow's kernels do not compute in half
    precision, Keras's own layers compute in float32.

    Raises:
        ValueError: the factory does not take the configuration's arguments.
    """
    keras.utils.set_random_seed(config.seed)
    with _policy(_POLICIES[config.precision]):
        model = _built(config, classes, None)
    in_float32 = not _computes(config)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = replicas > 1
        elif in_float32 and not isinstance(layer, Conv2D):
            layer.dtype_policy = "float32"
    return model


def _computes(config: Config) -> bool:
    """Whether Keras's own layers compute in a configuration's precision where it is trained.

    This package's do, whatever the processor.
    """
    if keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    compiled = config.jit_compile or tf.config.list_logical_devices("GPU")
    return bool(compiled) or choice.cpu_computes(config.precision)


def for_use(trained: keras.Model, config: Config, classes: int) -> keras.Model:
    """From images of 0 to 255 to probabilities, in float32, with a trained network's weights.

    Auxiliary heads are left out.
    """
    with _policy("float32"):
        model = without_auxiliary_heads(_built(config, classes, "softmax"))
    values = {variable.path: variable for variable in trained.variables}
    for variable in model.variables:
        if "seed_generator" not in variable.path:
            variable.assign(keras.ops.convert_to_numpy(values[variable.path]))
    return model


def _built(config: Config, classes: int, activation: str | None) -> keras.Model:
    size = config.image_size
    images = keras.Input((size, size, 3), name="images", dtype="float32")
    normalized = keras.layers.Normalization(
        mean=list(config.mean),
        variance=np.square(config.std).tolist(),
        name="normalize",
        dtype="float32",  # A colour of 0 to 255 has not enough bits in bfloat16.
    )(images)
    options, known = config.factory_options(), network(config.model).options
    for name in options:
        if name not in known:
            raise ValueError(
                f"model_options: {config.model} has no {name!r}; it has "
                f"{', '.join(known) or 'none'}"
            )
    return build(
        config.model,
        root=topology.parse(config.root),
        input_tensor=normalized,
        classes=classes,
        classifier_activation=activation,
        **options,
    )


@contextlib.contextmanager
def _policy(name: str):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
