"""Trains a root network on handwritten digits and saves it, in your own code.

    python examples/train_digits.py --root=8 --epochs=5 --output=digits.keras

Needs the extra "datasets": pip install 'keras_roots[datasets]'
"""

from pathlib import Path

import keras
from absl import app, flags

import keras_roots
from keras_roots import data

_ROOT = flags.DEFINE_integer("root", 8, "Degree of the root topology; 1 is the dense network.")
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Passes over the training images.", lower_bound=1)
_OUTPUT = flags.DEFINE_string("output", None, "Where to save the model, *.keras. None: nowhere.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}", exitcode=2)
    output = Path(_OUTPUT.value) if _OUTPUT.value else None
    if output and (output.suffix != ".keras" or not output.parent.is_dir() or output.exists()):
        raise app.UsageError(f"Expected a new *.keras in an existing folder: {output}", exitcode=2)
    try:
        network = keras_roots.RootNIN(root=_ROOT.value)
    except ValueError as error:
        raise app.UsageError(str(error), exitcode=2) from error

    digits = data.load("digits")
    inputs = keras.Input((32, 32, 3))
    outputs = network(keras.layers.Rescaling(1 / 128, offset=-1)(inputs))
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(
        digits.train_images,
        digits.train_labels,
        batch_size=64,
        epochs=_EPOCHS.value,
        validation_data=(digits.test_images, digits.test_labels),
    )
    if output:
        model.save(output)


if __name__ == "__main__":
    app.run(main)
