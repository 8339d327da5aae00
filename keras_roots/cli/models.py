"""The networks that a command is about: by name, or from a `.keras` file."""

import argparse
import re
import zipfile
from pathlib import Path

from keras_roots import topology


def dense_and_grouped(arguments: argparse.Namespace, size: int | None):
    """The dense network, the one with groups if asked for, and a shape for cost()."""
    from keras_roots.models import build
    from keras_roots.rootify import rootify

    grouped = arguments.root != topology.root(1)
    if arguments.model.endswith(".keras"):
        for name in ("classes", "set"):
            if getattr(arguments, name):
                raise ValueError(f"--{name} is for networks that are built by name, not for files")
        dense = load(arguments.model)
        shape = _filled(dense, size)  # Raises before the work.
        return dense, rootify(dense, arguments.root, report=None) if grouped else None, shape
    options = _factory_options(arguments, size)
    rooted = build(arguments.model, root=arguments.root, **options) if grouped else None
    return build(arguments.model, root=1, **options), rooted, None


def one(arguments: argparse.Namespace):
    """The network of a command that is about one, its image size fixed."""
    import keras

    from keras_roots.models import build

    size = arguments.image_size
    if size is not None and size < 1:
        raise ValueError(f"Expected --image-size of 1 or more. Received: {size}")
    if not arguments.model.endswith(".keras"):
        options = _factory_options(arguments, size)
        if arguments.root is not None:
            options["root"] = arguments.root
        return build(arguments.model, weights=arguments.weights, **options)
    for name in ("root", "weights", "classes", "set"):
        if getattr(arguments, name):
            raise ValueError(f"--{name} is for networks that are built by name, not for files")
    model = load(arguments.model)
    shape = _filled(model, size)
    if shape is None:
        return model
    inputs = keras.Input(shape)
    return keras.Model(inputs, model(inputs), name=model.name)


def _factory_options(arguments: argparse.Namespace, size: int | None) -> dict[str, object]:
    """What the factory of a network by name is given, checked."""
    from keras_roots.models.application import shape_of_size

    options: dict[str, object] = dict(arguments.set)
    if size is not None:
        options["input_shape"] = shape_of_size(size, 3)
    if arguments.classes is not None:
        options["classes"] = arguments.classes
    if Path(arguments.model).suffix in (".h5", ".hdf5", ".pb", ".tflite", ".onnx", ".pt"):
        raise ValueError(
            f"Expected the name of a network or a .keras file, as model.save writes. Received: "
            f"{arguments.model!r}"
        )
    check_factory_options(arguments.model, dict(arguments.set))
    return options


def _filled(model, size: int | None) -> tuple | None:
    """The shape of one image, with `size` where a saved model leaves it open."""
    inputs = getattr(model, "inputs", None) if model.built else None
    shapes = [tensor.shape[1:] for tensor in inputs or []]
    is_open = any(None in shape for shape in shapes)
    if size is None:
        if is_open and len(shapes) == 1:
            raise ValueError(f"'{model.name}' leaves its image size open: give --image-size")
        return None
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ValueError(
            f"--image-size is for files of a model with one image as its input; '{model.name}' "
            f"has inputs of {', '.join(map(str, shapes)) or 'unknown shapes'}"
        )
    if not is_open:
        raise ValueError(f"'{model.name}' takes images of {shapes[0]} only: omit --image-size")
    return tuple(size if length is None else length for length in shapes[0])


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
    from keras_roots.classify.classifier import Classifier

    suffix = Path(arguments.model).suffix
    if suffix not in (".keras", ".tflite"):
        raise ValueError(
            "Expected a .keras file, as model.save writes, or a .tflite file. Received: "
            f"{arguments.model!r}"
        )
    return Classifier(
        arguments.model if suffix == ".tflite" else load(arguments.model),
        preprocessing=arguments.preprocessing,
        image_size=arguments.image_size,
    )


def class_names_beside(path: str) -> tuple[str, ...] | None:
    """Those of a model in a work directory, or None."""
    from keras_roots.training import workdir

    return workdir.class_names(Path(path).parent)


def class_names_of(path: str) -> tuple[str, ...]:
    """One a line; the last may be followed by empty ones."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file of class names {path!r}.")
    text = Path(path).read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.rstrip().splitlines())


def load(path: str):
    """A saved model; nothing that is code in the file is run."""
    import keras

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
