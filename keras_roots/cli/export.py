"""`keras-roots export`: a verified file or folder for another runtime."""

import argparse
import warnings
from pathlib import Path
from typing import Any

from keras_roots.cli.options import (
    add_image_size_and_classes,
    add_preprocessing,
    add_root,
    add_set,
    require_outputs,
    to_stderr,
)

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
    command.add_argument(
        "--weights", metavar="FILE", help="of a network by name (default: random ones)"
    )
    add_image_size_and_classes(command)
    add_set(command)
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="PATH",
        help="the file to write, *.tflite, *.stablehlo or *.onnx, or the folder of a SavedModel",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace what is there, once it is verified"
    )
    command.add_argument(
        "--format",
        choices=_FORMATS,
        help="tflite: for LiteRT; savedmodel: for TensorFlow and TensorFlow Serving; xla: the "
        "same, compiled by XLA; stablehlo: for JAX, without TensorFlow; onnx (default: what the "
        "output's name ends in)",
    )
    _add_precision(command)
    _add_images(command)
    _add_optimization(command)
    command.set_defaults(run=_export)


def _add_precision(command) -> None:
    command.add_argument(
        "--precision",
        choices=("float32", "float16", "dynamic", "int8", "int8x16"),
        default="float32",
        help="of a TFLite file. float16: weights stored so; dynamic: weights as 8-bit integers; "
        "int8: activations, too; int8x16: activations of 16 bits, which is slow (default: "
        "%(default)s)",
    )
    command.add_argument(
        "--interface",
        choices=("float32", "int8"),
        default="float32",
        help="input and output of an int8 file (default: %(default)s). With int8 it gives the "
        "scores before a softmax",
    )
    command.add_argument(
        "--tolerance",
        type=float,
        metavar="SHARE",
        help="largest difference to Keras that is accepted, relative to the largest output "
        "(float32: 1e-4, float16: 0.05); of dynamic and int8 in root mean square (0.5)",
    )


def _add_images(command) -> None:
    command.add_argument(
        "--calibration",
        metavar="DIR",
        help="folder of images like those that the model will see, for int8's ranges",
    )
    command.add_argument(
        "--calibration-images",
        type=int,
        default=100,
        metavar="N",
        help="how many of them (default: %(default)s)",
    )
    command.add_argument(
        "--verification",
        metavar="DIR",
        help="folder of other images to verify with (default: some of those of --calibration that "
        "it does not use; without it parts of two photographs of scikit-learn's, or random images)",
    )
    command.add_argument(
        "--verification-images",
        type=int,
        default=8,
        metavar="N",
        help="how many of them (default: %(default)s)",
    )
    add_preprocessing(command, "none")
    command.add_argument(
        "--embed-preprocessing",
        action="store_true",
        help="the file takes pixels of 0 to 255 and does the --preprocessing itself",
    )
    command.add_argument(
        "--source-size",
        metavar="HEIGHTxWIDTH",
        type=_size,
        help="with --embed-preprocessing: the file takes whole images of this size, and crops and "
        "resizes them, too",
    )
    command.add_argument(
        "--resize",
        type=int,
        metavar="PIXELS",
        help="shorter side of an image before the crop (default: 256/224 of the image size)",
    )
    command.add_argument(
        "--labels",
        metavar="FILE",
        help="names of the classes, one a line, to go into the file (default: classes.txt beside "
        "the model, if there is one)",
    )


def _add_optimization(command) -> None:
    command.add_argument(
        "--batch",
        type=int,
        action="append",
        metavar="N",
        help="images that a TFLite or StableHLO file takes at once; of a SavedModel, which takes "
        "any number, those of the requests that it is warmed up with, may be repeated (default: 1)",
    )
    command.add_argument(
        "--target",
        choices=("cpu", "gpu"),
        default="cpu",
        help="what a SavedModel or StableHLO is to run on (default: %(default)s)",
    )
    command.add_argument(
        "--lowering",
        choices=("auto", "tuned", "native"),
        default="auto",
        help="of grouped convolutions in a TFLite file: auto, after the measurements that come "
        "with keras_roots; tuned, after measurements on this machine, which are kept; native, as "
        "they stand (default: %(default)s)",
    )
    command.add_argument(
        "--threads", type=int, default=1, metavar="N", help="with which tuned measures"
    )


def _size(text: str) -> tuple[int, int]:
    height, separator, width = text.partition("x")
    if not separator or not height.isdecimal() or not width.isdecimal():
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH, as 480x640; received {text!r}")
    return int(height), int(width)


def _export(arguments: argparse.Namespace) -> int:
    from keras_roots import export
    from keras_roots.cli.models import one

    kind = _format(arguments)
    _check(arguments, kind)
    preprocessing = export.Preprocessing(
        arguments.preprocessing,
        inside=arguments.embed_preprocessing,
        source_size=arguments.source_size,
        resize=arguments.resize,
    )
    model = one(arguments)
    if arguments.weights is None and not arguments.model.endswith(".keras"):
        to_stderr("the weights are random: the file is for timing only (see --weights)")
    images, ranges = _images(arguments, model, preprocessing)
    batches = arguments.batch or [1]
    common: dict[str, Any] = {
        "preprocessing": preprocessing,
        "labels": _labels(arguments),
        "tolerance": arguments.tolerance,
        "overwrite": arguments.overwrite,
        "report": to_stderr,
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        if kind == "tflite":
            artifact = export.export_tflite(
                model,
                arguments.output,
                images,
                precision=arguments.precision,
                interface=arguments.interface,
                calibration=ranges,
                batch=batches[0],
                lowering=arguments.lowering,
                threads=arguments.threads,
                **common,
            )
        elif kind == "stablehlo":
            artifact = export.export_stablehlo(
                model,
                arguments.output,
                images,
                target=arguments.target,
                batch=batches[0],
                **common,
            )
        elif kind == "onnx":
            artifact = export.export_onnx(model, arguments.output, images, **common)
        else:
            artifact = export.export_savedmodel(
                model,
                arguments.output,
                images,
                jit_compile=kind == "xla",
                target=arguments.target,
                batches=batches,
                **common,
            )
    for warning in caught:
        to_stderr(f"warning: {warning.message}")
    if artifact.comparison.warning is not None:
        to_stderr(f"warning: {artifact.comparison.warning}")
    print(artifact.report())
    return 0


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

    if kind not in ("savedmodel", "xla"):
        require_outputs(arguments.output)
    elif Path(arguments.output).is_file():
        raise NotADirectoryError(f"There is a file where a folder is to be: {arguments.output!r}")
    parent = Path(arguments.output).absolute().parent
    if not parent.is_dir():
        raise FileNotFoundError(f"There is no folder {str(parent)!r} to write in.")
    require_writable(parent)
    if not arguments.overwrite:
        refuse_existing(arguments.output)
    if arguments.threads < 1:
        raise ValueError(f"Expected --threads of 1 or more. Received: {arguments.threads}")
    if min(arguments.batch or [1]) < 1:
        raise ValueError(f"Expected --batch of 1 or more. Received: {min(arguments.batch)}")
    if len(arguments.batch or [1]) > 1 and kind not in ("savedmodel", "xla"):
        raise ValueError(f"A file of the format {kind} is of one --batch; give several files.")
    for name in ("calibration_images", "verification_images"):
        if (number := getattr(arguments, name)) < 1:
            option = name.replace("_", "-")
            raise ValueError(f"Expected --{option} of 1 or more. Received: {number}")
    if arguments.tolerance is not None and not arguments.tolerance > 0:
        raise ValueError(f"Expected a --tolerance above 0. Received: {arguments.tolerance}")
    for name, default in (("precision", "float32"), ("interface", "float32"), ("lowering", "auto")):
        if kind != "tflite" and getattr(arguments, name) != default:
            raise ValueError(f"--{name} is of TFLite files. Received: the format {kind}")
    if arguments.source_size is not None and not arguments.embed_preprocessing:
        raise ValueError("--source-size is with --embed-preprocessing")
    if arguments.precision in ("int8", "int8x16") and arguments.calibration is None:
        raise ValueError(
            f"{arguments.precision} needs images to calibrate with: give --calibration DIR"
        )
    for folder in (arguments.calibration, arguments.verification):
        if folder is not None:
            calibration.require_images(folder)
    if arguments.labels is not None and not Path(arguments.labels).is_file():
        raise FileNotFoundError(f"There is no file of labels {arguments.labels!r}.")


def _labels(arguments: argparse.Namespace):
    from keras_roots.cli.models import class_names_beside, class_names_of

    if arguments.labels is not None:
        return class_names_of(arguments.labels)
    return class_names_beside(arguments.model) if arguments.model.endswith(".keras") else None


def _images(arguments: argparse.Namespace, model, preprocessing):
    """Inputs to verify with, and those to calibrate with or None."""
    from keras_roots.export import calibration, example_inputs
    from keras_roots.export.exportable import require_exportable
    from keras_roots.surgery.auxiliary_heads import without_auxiliary_heads

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
