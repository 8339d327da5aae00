"""Models that say which colour of an image is the largest, and images in one colour."""

import re

import keras
import numpy as np
import tensorflow as tf

from keras_roots.export import export_tflite

SIZE = 16
NAMES = ("blue", "green", "red")
COLOURS = {"red": (200, 30, 60), "green": (40, 180, 90), "blue": (10, 90, 220)}


def jpeg(colour, size=SIZE):
    return tf.io.encode_jpeg(np.full((size, size, 3), colour, np.uint8)).numpy()


def network(kernel, activation="softmax", size=SIZE):
    """The mean of each colour, 0 to 1, times a kernel [3, classes]."""
    inputs = keras.Input((size, size, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    dense = keras.layers.Dense(len(kernel[0]), use_bias=False, activation=activation)
    model = keras.Model(inputs, dense(means))
    dense.set_weights([np.asarray(kernel, np.float32)])
    return model


def largest_colour(**more):
    """Which colour is the largest, in the order of `NAMES`."""
    return network(10 * np.eye(3)[::-1], **more)


def saved(folder):
    """A folder of models that tests only read."""
    model = largest_colour()
    model.save(folder / "model.keras")
    images = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3))
    export_tflite(model, folder / "model.tflite", images)
    largest_colour(activation=None).save(folder / "logits.keras")
    largest_colour(size=None).save(folder / "open.keras")
    network(np.full((3, 3), np.nan)).save(folder / "nan.keras")
    network(np.eye(3, 4)).save(folder / "four.keras")
    return folder


def colour_folders(folder):
    """<folder>/<class>/: 6 of 7 are right, red's third is green."""
    of_class = {"red": ["red", "red", "green"], "green": ["green"], "blue": ["blue"] * 3}
    for name, colours in of_class.items():
        (folder / name).mkdir(parents=True)
        for number, colour in enumerate(colours):
            (folder / name / f"{number}.JPEG").write_bytes(jpeg(COLOURS[colour]))
    return folder


def tables(text):
    """The printed tables, as rows of cells that are two spaces or more apart."""
    blocks = text.strip().split("\n\n")
    return [[re.split(r"\s{2,}", line) for line in block.splitlines()] for block in blocks]


def one_line(capsys):
    error = capsys.readouterr().err
    assert error.startswith("keras-roots: ")
    assert error.count("\n") == 1
    return error
