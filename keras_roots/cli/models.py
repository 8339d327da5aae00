"""The networks that a command is about: by name, or from a `.keras` file."""

import argparse
import re
import zipfile
from pathlib import Path

from keras_roots import topology
from keras_roots.cli.options import taken


def dense_and_grouped(arguments: argparse.Namespace):
    """The dense network, the one with groups if asked for, and a shape for cost()."""
    from keras_roots.models import build
    from keras_roots.rootify import rootify

    grouped = arguments.root != topology.root(1)
    if is_file(arguments):
        _refuse(arguments, "classes", "set")
        dense = load(arguments.model)
        shape = _filled(dense, arguments.image_size)  # Raises before the work.
        return dense, rootify(dense, arguments.root, report=None) if grouped else None, shape
    options = factory_options(arguments)
    rooted = build(arguments.model, root=arguments.root, **options) if grouped else None
    return build(arguments.model, root=1, **options), rooted, None


def one(arguments: argparse.Namespace):
    """The network of a command that is about one, its image size fixed."""
    import keras

    from keras_roots.models import build

    if not is_file(arguments):
        options = factory_options(arguments)
        if arguments.root is not None:
            options["root"] = arguments.root
        return build(arguments.model, weights=arguments.weights, **options)
    _refuse(arguments, "root", "weights", "classes", "set")
    model = load(arguments.model)
    shape = _filled(model, arguments.image_size)
    if shape is None:
        return model
    inputs = keras.Input(shape)
    return keras.Model(inputs, model(inputs), name=model.name)


def is_file(arguments: argparse.Namespace) -> bool:
    """Whether the network is that of a file, and not built by name."""
    return arguments.model.endswith(".keras")


def _refuse(arguments: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(arguments, name):
            raise ValueError(f"--{name} is for networks that are built by name, not for files")


def factory_options(arguments: argparse.Namespace) -> dict[str, object]:
    """What the factory of a network by name is given, checked."""
    from keras_roots.models import shape_of_size

    if Path(arguments.model).suffix in (".h5", ".hdf5", ".pb", ".tflite", ".onnx", ".pt"):
        raise ValueError(
            f"Expected the name of a network or a .keras file, as model.save writes. Received: "
            f"{arguments.model!r}"
        )
    options = dict(arguments.set)
    check_factory_options(arguments.model, options)
    if arguments.image_size is not None:
        options["input_shape"] = shape_of_size(arguments.image_size, 3)
    if arguments.classes is not None:
        options["classes"] = arguments.classes
    return options


def _filled(model, size: int | None) -> tuple | None:
    """The shape of one image, with `size` where a saved model leaves it open; None: it is closed.

    A model of other inputs than one image is taken as it is, where no size is given.
    """
    shapes = _input_shapes(model)
    if size is None and (len(shapes) != 1 or None not in shapes[0]):
        return None
    shape = image_shape(model, size)
    return None if shape == shapes[0] else shape


def _input_shapes(model) -> list[tuple]:
    inputs = getattr(model, "inputs", None) if model.built else None
    return [tuple(tensor.shape[1:]) for tensor in inputs or []]


def image_shape(model, size: int | None) -> tuple:
    """The shape of the one image that a saved model takes, with `size` where it leaves it open."""
    shapes = _input_shapes(model)
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ValueError(
            f"Expected a model with one image as its input. '{model.name}' has inputs of "
            f"{', '.join(map(str, shapes)) or 'unknown shapes'}"
        )
    (shape,) = shapes
    if size is None and None in shape:
        raise ValueError(f"'{model.name}' leaves its image size open: give --image-size")
    if size is not None and None not in shape and shape.count(size) < 2:
        raise ValueError(f"'{model.name}' takes images of {shape} only: omit --image-size")
    return tuple(size if length is None else length for length in shape)


def check_factory_options(model: str, options: dict) -> None:
    """Raises a ValueError for what is no option of this network."""
    from keras_roots.models import network

    known = network(model).options
    for name in options:
        if name in ("root", "classes"):
            raise ValueError(f"{name} has an option of its own: --{name}")
        if name not in known:
            have = f"has {', '.join(known)}" if known else "has none"
            raise ValueError(f"{model} has no option {name!r}; it {have}")


def classifier(arguments: argparse.Namespace):
    """The classifier of a command with `options.add_classifier`."""
    from keras_roots.classify import Classifier

    path, settings = arguments.model, taken(arguments, "preprocessing", "image_size")
    return Classifier(path if path.endswith(".tflite") else load(path), **settings)


def class_names(model: str, file: str | None = None) -> tuple[str, ...] | None:
    """Those of a file, one a line; or those beside a model in a work directory, if any."""
    from keras_roots.training import workdir

    if file is None:
        return workdir.class_names(Path(model).parent)
    if not Path(file).is_file():
        raise FileNotFoundError(f"There is no file of class names {file!r}.")
    text = Path(file).read_text(encoding="utf-8")
    # The last may be followed by empty ones.
    return tuple(line.strip() for line in text.rstrip().splitlines())


def load(path: str):
    """A saved model; nothing that is code in the file is run."""
    import keras

    if Path(path).suffix != ".keras":
        raise ValueError(f"Expected a .keras file, as model.save writes. Received: {path!r}")
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path!r}.")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path!r} cannot be loaded as a Keras model: it is no whole .keras file (which is a "
            "ZIP archive), as model.save writes."
        )
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # h5py and Keras each have their own.
        raise ValueError(f"{path!r} cannot be loaded as a Keras model: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Why a file cannot be loaded, and what to do about one that holds more than Keras's layers."""
    text = str(error)
    unknown = re.search(r"Could not locate \w+ '[^']*'", text)
    if unknown is not None:
        where, options = unknown.group(), "custom_objects={...}"
        why = "it holds layers or functions that are neither Keras's nor keras_roots's"
    elif "safe_mode" in text or "Lambda" in text:
        where, options = text.partition(".")[0], "safe_mode=False"
        why = "it holds code, which is not run from here; if you trust it"
    else:
        return text
    return (
        f"{where}: {why}. Load it in Python, keras.models.load_model(path, {options}), and give "
        "the model to keras_roots.export.export_tflite or whatever else is wanted."
    )
