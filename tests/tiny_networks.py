"""A network of filter groups that is compressed in a second, and what it is trained on."""

import functools

import keras
import numpy as np

from keras_roots import layers
from keras_roots.compression.fine_tuning import FineTuning

SIZE, CLASSES = 8, 3
# Those that are compressed by default, with their groups; then those that are not.
GROUPS = {"spatial2": 2, "mix2": 1, "spatial4": 4}
ENDS = ("first", "classifier")


def easy_images(count=48, seed=0):
    """uint8 images, of which the class is the strongest colour."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 200, (count, SIZE, SIZE, 3))
    images[np.arange(count), :, :, labels] += 55
    return images.astype(np.uint8), labels


def as_taken(images):
    return images.astype(np.float32)


def tuning(count=48, **config):
    images, labels = easy_images(count)
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": 0.02, "seed": 1, **config}
    return FineTuning.of_arrays(images, labels, classes=CLASSES, **settings)


def root_network():
    """A root module with a shortcut, and the grouped convolution of another."""

    def convolved(x, name, size, groups=1):
        x = layers.convolution(8, size, groups=groups, padding="same", use_bias=False, name=name)(x)
        return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)

    relu = keras.layers.ReLU
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 128, offset=-1)(inputs)
    x = relu()(convolved(x, "first", 3))
    y = relu()(convolved(x, "spatial2", 3, 2))
    x = relu()(keras.layers.Add()([x, convolved(y, "mix2", 1)]))
    x = relu()(convolved(x, "spatial4", 3, 4))
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(CLASSES, activation="softmax", name="classifier")(x)
    return keras.Model(inputs, x, name="tiny")


def classifier(*middle, name="small"):
    """Some layers, pooled and classified; the same weights each time."""
    inputs = x = keras.Input((SIZE, SIZE, 3))
    for layer in middle:
        x = layer(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(CLASSES, activation="softmax", name="classifier")(x)
    return drawn(keras.Model(inputs, x, name=name))


def drawn(model):
    """The model with kernels drawn anew, the same each time."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if "kernel" in variable.name:
            deviation = np.sqrt(2 / np.prod(variable.shape[:-1]))
            variable.assign(rng.normal(0, deviation, variable.shape))
    return model


@functools.cache
def trained():
    """That network, somewhat trained. Not to be changed."""
    keras.utils.set_random_seed(0)
    model = root_network()
    model.compile(
        keras.optimizers.SGD(0.02, 0.9), "sparse_categorical_crossentropy", jit_compile=False
    )
    images, labels = easy_images()
    model.fit(as_taken(images), labels, epochs=4, batch_size=16, verbose=0)
    return model


def as_bytes(model):
    return [np.asarray(variable).tobytes() for variable in model.variables]


def kernels(model, names=tuple(GROUPS)):
    return {name: np.asarray(model.get_layer(name).kernel) for name in names}


def with_kernels(model, change, names=tuple(GROUPS)):
    """A copy in which some kernels are what a function makes of them."""
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    for name in names:
        kernel = copied.get_layer(name).kernel
        kernel.assign(change(np.asarray(kernel)))
    return copied


def halved(kernel):
    """The smaller half of the weights are 0."""
    return np.where(np.abs(kernel) < np.median(np.abs(kernel)), 0, kernel)


def of_seven_values(kernel):
    """Zeros stay zeros, and weights that are none are none."""
    step = np.abs(kernel).max() / 3
    rounded = np.clip(np.rint(kernel / step), -3, 3)
    rounded = np.where((rounded == 0) & (kernel != 0), np.sign(kernel), rounded)
    return (rounded * step).astype(np.float32)
