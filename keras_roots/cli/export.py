"""`keras-roots export`: a verified file or folder for another runtime."""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_roots.cli.options import add_root, require_outputs, taken, to_stderr

_FORMATS = ("tflite", "savedmodel", "xla", "stablehlo", "onnx")
_SUFFIXES = {".tflite": "tflite", ".stablehlo": "stablehlo", ".onnx": "onnx", "": "savedmodel"}


def add(commands) -> None:
    command = commands.add_parser(
        "export",
        help="write a TFLite file, a SavedModel, StableHLO or ONNX, verified against Keras",
        description="Writes a network in the form that a runtime runs fastest, once its outputs "
        "there have been compared with Keras's. Prints what it holds, how far it is from Keras, "
        "which lowering each layer got and why, and the lines that run it.",
    )
    command.add_argument(
        "model",
        help="a file that model.save wrote: model.keras; or the name of a network, such as "
        "resnet50, which then needs --weights to be of use",
    )
    add_root(command, default=None, note="of a network by name (default: its own)")
    command.option("--weights", "FILE", "of a network by name (default: random ones)")
    command.shared("--image-size", "--classes", "--set")
    command.option(
        "--output",
        "PATH",
        "the file to write, *.tflite, *.stablehlo or *.onnx, or the folder of a SavedModel",
        required=True,
    )
    command.flag("--overwrite", "replace what is there, once it is verified")
    command.choice(
        "--format",
        _FORMATS,
        "tflite: for LiteRT; savedmodel: for TensorFlow and TensorFlow Serving; xla: the "
        "same, compiled by XLA; stablehlo: for JAX, without TensorFlow; onnx (default: what the "
        "output's name ends in)",
    )
    command.choice(
        "--precision",
        ("float32", "float16", "dynamic", "int8", "int8x16"),
        "of a TFLite file. float16: weights stored so; dynamic: weights as 8-bit integers; "
        "int8: activations, too; int8x16: activations of 16 bits, which is slow",
        default="float32",
    )
    command.choice(
        "--interface",
        ("float32", "int8"),
        "input and output of an int8 file (default: %(default)s). With int8 it gives the "
        "scores before a softmax",
        default="float32",
    )
    command.option(
        "--tolerance",
        "SHARE",
        "largest difference to Keras that is accepted, relative to the largest output "
        "(float32: 1e-4, float16: 0.05); of dynamic and int8 in root mean square (0.5)",
        type=float,
    )
    command.option(
        "--calibration",
        "DIR",
        "folder of images like those that the model will see, for int8's ranges",
    )
    command.number("--calibration-images", 100, "how many of them", least=1)
    command.option(
        "--verification",
        "DIR",
        "folder of other images to verify with (default: some of those of --calibration that "
        "it does not use; without it parts of two photographs of scikit-learn's, or random images)",
    )
    command.number("--verification-images", 8, "how many of them", least=1)
    command.shared("--preprocessing", default="none")
    command.flag(
        "--embed-preprocessing",
        "the file takes pixels of 0 to 255 and does the --preprocessing itself",
    )
    command.option(
        "--source-size",
        "HEIGHTxWIDTH",
        "with --embed-preprocessing: the file takes whole images of this size, and crops and "
        "resizes them, too",
        type=_size,
    )
    command.shared("--resize", note=" (default: 256/224 of the image size)")
    command.option(
        "--labels",
        "FILE",
        "names of the classes, one a line, to go into the file (default: classes.txt beside "
        "the model, if there is one)",
    )
    command.number(
        "--batch",
        None,
        "images that a TFLite or StableHLO file takes at once; of a SavedModel, which takes "
        "any number, those of the requests that it is warmed up with, may be repeated (default: 1)",
        least=1,
        action="append",
    )
    command.choice(
        "--target", ("cpu", "gpu"), "what a SavedModel or StableHLO is to run on", default="cpu"
    )
    command.choice(
        "--lowering",
        ("auto", "tuned", "native"),
        "of grouped convolutions in a TFLite file: auto, after the measurements that come "
        "with keras_roots; tuned, after measurements on this machine, which are kept; native, as "
        "they stand",
        default="auto",
    )
    command.number("--threads", 1, "with which tuned measures", least=1)
    command.set_defaults(run=_export)


def _size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    if not separator or not height.isdecimal() or not width.isdecimal():
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, as 480x640; received {text!r}")
    return int(height), int(width)


def _export(arguments: argparse.Namespace) -> None:
    from keras_roots import export
    from keras_roots.cli.models import class_names, is_file, one

    kind = _format(arguments)
    _check(arguments, kind)
    preprocessing = export.Preprocessing(
        arguments.preprocessing,
        inside=arguments.embed_preprocessing,
        **taken(arguments, "source_size", "resize"),
    )
    labels = None
    if arguments.labels or is_file(arguments):
        labels = class_names(arguments.model, arguments.labels)
    model = one(arguments)
    if arguments.weights is None and not is_file(arguments):
        to_stderr("the weights are random: the file is for timing only (see --weights)")
    images, ranges = _images(arguments, model, preprocessing)
    exporter, own = _exporter(arguments, kind, ranges)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        artifact = exporter(
            model,
            arguments.output,
            images,
            **own,
            **taken(arguments, "tolerance", "overwrite"),
            preprocessing=preprocessing,
            labels=labels,
            report=to_stderr,
        )
    for warning in caught:
        to_stderr(f"warning: {warning.message}")
    if artifact.comparison.warning is not None:
        to_stderr(f"warning: {artifact.comparison.warning}")
    print(artifact.report())


def _exporter(
    arguments: argparse.Namespace, kind: str, ranges
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function that writes files of a kind, and what it takes that not all of them do."""
    from keras_roots import export

    batches = arguments.batch or [1]
    if kind == "tflite":
        own = taken(arguments, "precision", "interface", "lowering", "threads")
        return export.export_tflite, {**own, "calibration": ranges, "batch": batches[0]}
    if kind == "onnx":
        return export.export_onnx, {}
    own = taken(arguments, "target")
    if kind == "stablehlo":
        return export.export_stablehlo, {**own, "batch": batches[0]}
    return export.export_savedmodel, {**own, "jit_compile": kind == "xla", "batches": batches}


def _format(arguments: argparse.Namespace) -> str:
    if arguments.format is not None:
        return arguments.format
    suffix = Path(arguments.output).suffix
    if suffix not in _SUFFIXES:
        raise ValueError(
            f"Expected an output that ends in .tflite, .stablehlo or .onnx, or --format "
            f"{', '.join(_FORMATS)}. Received: {arguments.output!r}"
        )
    return _SUFFIXES[suffix]


def _check(arguments: argparse.Namespace, kind: str) -> None:
    """Raises for what can be told before a model is built."""
    from keras_roots.export import calibration
    from keras_roots.reporting import refuse_existing, require_writable

    is_folder = kind in ("savedmodel", "xla")
    output = Path(arguments.output)
    if not (is_folder and output.is_dir()):
        require_outputs(arguments.output)
    if is_folder and output.is_file():
        raise NotADirectoryError(f"There is a file where a folder is to be: {arguments.output!r}")
    require_writable(output.absolute().parent)
    if not arguments.overwrite:
        refuse_existing(arguments.output)
    if len(arguments.batch or [1]) > 1 and not is_folder:
        raise ValueError(f"A file of the format {kind} is of one --batch; give several files.")
    if arguments.tolerance is not None and not arguments.tolerance > 0:
        raise ValueError(f"Expected a --tolerance above 0. Received: {arguments.tolerance}")
    for name, default in (("precision", "float32"), ("interface", "float32"), ("lowering", "auto")):
        if kind != "tflite" and getattr(arguments, name) != default:
            raise ValueError(f"--{name} is of TFLite files. Received: the format {kind}")
    if arguments.precision in ("int8", "int8x16") and arguments.calibration is None:
        raise ValueError(
            f"{arguments.precision} needs images to calibrate with: give --calibration DIR"
        )
    for folder in filter(None, (arguments.calibration, arguments.verification)):
        calibration.require_images(folder)


def _images(arguments: argparse.Namespace, model, preprocessing):
    """Inputs to verify with, and those to calibrate with or None."""
    from keras_roots.export import calibration, example_inputs
    from keras_roots.export.exportable import require_exportable
    from keras_roots.surgery import without_auxiliary_heads

    model = without_auxiliary_heads(model)
    require_exportable(model)
    wanted, count = arguments.verification_images, arguments.calibration_images
    if arguments.calibration is None and arguments.verification is None:
        images, what = example_inputs.example_inputs(model, wanted, preprocessing)
        to_stderr(f"verifying with {what}; give --verification DIR for others")
        return images, None

    def loaded(folder: str, number: int):
        shape = preprocessing.input_shape(tuple(model.inputs[0].shape[1:]))
        return calibration.load_images(folder, shape, number, preprocessing.to_caller())

    if arguments.verification is not None:
        ranges = loaded(arguments.calibration, count) if arguments.calibration else None
        return loaded(arguments.verification, wanted), ranges
    both = loaded(arguments.calibration, wanted + count)
    # Those to verify with are others than those to calibrate with, where there are enough.
    enough = len(both) > min(wanted, count) + wanted - 1
    return both[:wanted], both[wanted:] if enough else both
