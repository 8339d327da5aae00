"""Trains a dense and a root network on handwritten digits, and compresses both in all ways.

    python examples/compress_digits.py --output=digits

Pruning, clustering and quantisation-aware training by themselves and together, in your own code;
`keras-roots compress` does the same of files and folders of images. Interrupted, the same command
goes on. About half an hour on 2 cores; --nosweep does all three together only.

Needs extras: pip install 'keras_roots[compression,datasets,litert,plots]'
"""

import sys
from pathlib import Path

import keras
from absl import app, flags, logging

import keras_roots
from keras_roots import data
from keras_roots.compression import FineTuning, HeldOut, Recipe, compress

_OUTPUT = flags.DEFINE_string("output", None, "Folder for the results.", required=True)
_ROOT = flags.DEFINE_integer("root", 8, "Degree of the root topology.", lower_bound=2)
_EPOCHS = flags.DEFINE_integer("epochs", 5, "Passes over the images, to train.", lower_bound=1)
_TUNING = flags.DEFINE_integer("tuning_epochs", 3, "The same to fine-tune.", lower_bound=1)
_EXAMPLES = flags.DEFINE_integer("examples", None, "Train on so many images only.", lower_bound=1)
_SPARSITY = flags.DEFINE_float("sparsity", 0.5, "Share of weights that become 0.")
_CLUSTERS = flags.DEFINE_integer("clusters", 16, "Values that a kernel's weights have.")
_SWEEP = flags.DEFINE_bool("sweep", True, "Each combination, not only all together.")


def trained(root: int, digits: data.LabelledImages, path: Path) -> keras.Model:
    """The network of an earlier run, or one that is trained now."""
    if path.exists():
        return keras.models.load_model(path)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    outputs = keras_roots.RootNIN(root=root)(keras.layers.Rescaling(1 / 128, offset=-1)(inputs))
    model = keras.Model(inputs, outputs, name=path.stem)
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(digits.train_images, digits.train_labels, batch_size=64, epochs=_EPOCHS.value)
    model.save(path)
    return model


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {argv[1:]}", exitcode=2)
    logging.set_verbosity(logging.WARNING)  # TensorFlow says what it converts.
    folder = Path(_OUTPUT.value)
    try:
        recipe = Recipe(
            sparsity=_SPARSITY.value, clusters=_CLUSTERS.value, qat=True, every=_SWEEP.value
        )
        digits = data.load("digits")
        if _EXAMPLES.value:
            digits = digits.take(_EXAMPLES.value)
        folder.mkdir(parents=True, exist_ok=True)
        results = compress(
            {
                "dense": trained(1, digits, folder / "dense.keras"),
                f"root-{_ROOT.value}": trained(_ROOT.value, digits, folder / "root.keras"),
            },
            FineTuning.of_arrays(
                digits.train_images, digits.train_labels, classes=10, epochs=_TUNING.value
            ),
            HeldOut("digits", digits.test_images, digits.test_labels),
            folder / "compressed",
            recipe,
        )
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
    print(results.table().text())
    print(f"\n{results.caption()}\nThe files, the table and a picture are in {folder}/compressed")


if __name__ == "__main__":
    app.run(main)
