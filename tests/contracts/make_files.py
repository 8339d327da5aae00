"""Files as users have saved them, each with what it computed on that day.

    python -m tests.contracts.make_files

They were made once, before the package's modules moved, and stand for every file that is out
there: a change that cannot read them is to be mended, not the files. What may be made anew is a
kind of file that is new. Each function writes one; give their names to write some only.
"""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

import keras_roots
import keras_roots.export
import keras_roots.sweep
import keras_roots.training
from keras_roots.cli import main
from tests.contracts.frozen import FILES

MODEL, WEIGHTS, OUTPUTS = "every-layer.keras", "every-layer.weights.h5", "every-layer.npz"
PHOTO, PREDICTIONS, COMPARED = "photo.png", "predictions.json", "compared.csv"
TFLITE_OUTPUTS = "tflite.npz"
TFLITE = {"float32": "float32.tflite", "int8": "int8.tflite"}
DATA, SWEEP, RUN, BENCHMARK = "data", "sweep", "sweep/root-4-seed-0", "networks.json"
SIZE, LABELS = 32, ("zero", "one", "two", "three")
_TRAINED, _HELD_OUT = 16, 8
_DOCUMENTED = Path(__file__).parents[2] / "docs" / "networks-nin.json"


def images(count: int = 4) -> np.ndarray:
    """float32 [count, 32, 32, 3] of 0 to 255, the same each time."""
    return np.random.default_rng(21).uniform(0, 255, (count, SIZE, SIZE, 3)).astype(np.float32)


def classes(count: int = 4) -> np.ndarray:
    """Of those images."""
    return np.arange(count) % len(LABELS)


def network() -> keras.Model:
    """Every layer, initialiser and optimizer that is registered, in a network of some kB."""
    layers, initializers = keras_roots.layers, keras_roots.initializers
    normalization = keras.saving.get_registered_object("keras_roots>LocalResponseNormalization")
    inputs = keras.Input((SIZE, SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 128, offset=-1, name="scaled")(inputs)
    x = layers.convolution(8, 3, strides=2, padding="same", name="first")(x)
    x = layers.batch_normalization(name="first_bn")(x)
    x = keras.layers.ReLU(name="first_relu")(x)
    x = normalization(n=3, k=2.0, name="lrn")(x)
    x = layers.root_module(8, 3, groups=4, pointwise_filters=16, name="module")(x)
    x = layers.Conv2D(16, 3, groups=2, lowering="taps", activation="relu", name="taps")(x)
    x = layers.GroupedConv2D(16, 3, groups=8, lowering="split", activation="relu", name="split")(x)
    x = layers.FusedBatchNormalization(name="last_bn")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    drawn = initializers.CompoundHeNormal([(1, 1, 4)], seed=3)
    x = keras.layers.Dense(4, "softmax", kernel_initializer=drawn, name="predictions")(x)
    model = keras.Model(inputs, x, name="every_layer")
    model.compile(
        keras_roots.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def one_more_step(model: keras.Model) -> np.ndarray:
    """What a model computes after another update, which takes the optimizer's state."""
    model.train_on_batch(images(), classes())
    return np.asarray(model(images(), training=False))


def every_layer() -> None:
    """A trained model with its optimizer's state, its weights alone, and what it computes."""
    keras.utils.set_random_seed(21)
    model = network()
    for _ in range(20):
        model.train_on_batch(images(), classes())
    model.save(FILES / MODEL)
    model.save_weights(FILES / WEIGHTS)
    before = np.asarray(model(images(), training=False))
    np.savez(FILES / OUTPUTS, outputs=before, one_more_step=one_more_step(model))


def tflite() -> None:
    """That model as TFLite files with labels and preprocessing, and what LiteRT computes."""
    found = {}
    for precision, name in TFLITE.items():
        export(precision, FILES / name)
        found[precision] = lite_outputs(FILES / name)
    np.savez(FILES / TFLITE_OUTPUTS, **found)


def export(precision: str, path: Path) -> None:
    """Writes the saved model as a TFLite file, calibrated with noise if that is needed."""
    keras_roots.export.export_tflite(
        keras.models.load_model(FILES / MODEL, safe_mode=True),
        path,
        images(),
        precision=precision,
        calibration=images(32) if precision == "int8" else None,
        labels=list(LABELS),
    )


def tensors(path: Path) -> list[tuple]:
    """Name, shape and type of each input and output of a TFLite file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    details = interpreter.get_input_details() + interpreter.get_output_details()
    signatures = interpreter.get_signature_list()
    return [(each["name"], tuple(each["shape"]), each["dtype"].__name__) for each in details] + [
        (name, *(tuple(each) for each in kinds.values())) for name, kinds in signatures.items()
    ]


def lite_outputs(path: Path) -> np.ndarray:
    """What a TFLite file makes of the images, one at a time, on one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (given,), (computed,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for image in images():
        interpreter.set_tensor(given["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(computed["index"])[0])
    return np.stack(found)


def data() -> None:
    """Digits as `keras-roots arrays` writes them; of those held out the first few."""
    with tempfile.TemporaryDirectory() as temporary:
        written = Path(temporary) / "digits"
        assert main(["arrays", "digits", str(written), "--examples", str(_TRAINED)]) == 0
        for kind in ("images", "labels"):
            path = written / f"test_{kind}.npy"
            np.save(path, np.load(path)[:_HELD_OUT])
        shutil.rmtree(FILES / DATA, ignore_errors=True)
        shutil.copytree(written, FILES / DATA)


def config(**values) -> keras_roots.training.Config:
    """Of an epoch on those digits."""
    common = {
        **{"name": "frozen", "model": "nin", "root": "4", "image_size": 32, "resize": 32},
        **{"mean": (60, 60, 60), "std": (90, 90, 90), "dataset": "arrays", "data_dir": DATA},
        **{"mirror": False, "epochs": 1, "batch_size": 8, "base_batch_size": 8},
        **{"learning_rate": 0.01, "warmup_epochs": 0.0, "deterministic": True},
    }
    return keras_roots.training.Config(**{**common, **values})


def sweep() -> None:
    """A sweep of one run that has finished, but for its model, checkpoints and pictures."""
    folder = FILES / SWEEP
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        written = Path(temporary) / "sweep"
        keras_roots.sweep.run(config(), ["root-4"], [0], written)
        for path in sorted(written.rglob("*")):
            kept = path.suffix in (".json", ".csv", ".md", ".txt")
            if path.is_file() and kept and not path.name.startswith("."):
                copy = folder / path.relative_to(written)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, copy)


def benchmark() -> None:
    """Two records of docs/networks-nin.json, of which few rounds are kept."""
    whole = json.loads(_DOCUMENTED.read_text(encoding="utf-8"))
    whole["records"] = [
        {**record, "seconds": record["seconds"][:6]} for record in whole["records"][:2]
    ]
    (FILES / BENCHMARK).write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    compared = printed_by("benchmark", "compare", BENCHMARK, BENCHMARK, "--format", "csv")
    (FILES / COMPARED).write_text(compared, encoding="utf-8")


def printed_by(*arguments: str) -> str:
    """What a command prints as its result, in the folder of the files."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(arguments) == 0
    return printed.getvalue()


def predicted(name: str) -> str:
    """What `keras-roots predict` prints of the photo and one of the files."""
    return printed_by("predict", name, PHOTO, "--format", "csv")


def predictions() -> None:
    """What is printed of a photo by each model."""
    keras.utils.save_img(FILES / PHOTO, images(1)[0], scale=False)
    found = {name: predicted(name).splitlines() for name in (MODEL, *TFLITE.values())}
    (FILES / PREDICTIONS).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


# The later ones need what the earlier ones write.
_ALL = (every_layer, tflite, data, sweep, benchmark, predictions)

if __name__ == "__main__":
    os.chdir(FILES)  # So that no file names a folder of this machine.
    for make in _ALL:
        if make.__name__ in (sys.argv[1:] or [each.__name__ for each in _ALL]):
            make()
