"""`keras-roots export`: a verified file for another runtime."""

import argparse

from keras_roots.cli.options import (
    add_image_size_and_classes,
    add_preprocessing,
    add_root,
    add_set,
    require_folder,
    to_stderr,
)

_IMAGES_TO_VERIFY = 8


def add(commands) -> None:
    command = commands.add_parser(
        "export",
        help="write a TFLite file, verified against Keras",
        description="Writes a network as a TFLite file of batch 1 in the form that LiteRT runs "
        "fastest, once its outputs have been compared with Keras's. Prints which lowering each "
        "layer got, and why.",
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
    command.add_argument("--format", choices=("tflite",), default="tflite")
    command.add_argument(
        "--precision",
        choices=("float32", "int8"),
        default="float32",
        help="int8: weights and activations are 8-bit integers; input and output stay float32 "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--calibration",
        metavar="DIR",
        help="folder of images like those that the model will see, for int8's ranges and for the "
        "verification (without it: random images, which do for float32)",
    )
    command.add_argument(
        "--calibration-images",
        type=int,
        default=100,
        metavar="N",
        help="how many of them (default: %(default)s)",
    )
    add_preprocessing(command)
    command.add_argument(
        "--lowering",
        choices=("auto", "tuned", "native"),
        default="auto",
        help="of grouped convolutions: auto, after the measurements that come with keras_roots; "
        "tuned, after measurements on this machine, which are kept; native, as they stand "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--threads", type=int, default=1, metavar="N", help="with which tuned measures"
    )
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="the file to write: model.tflite"
    )
    command.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> int:
    import numpy as np

    from keras_roots.auxiliary_heads import without_auxiliary_heads
    from keras_roots.cli.models import one
    from keras_roots.export import calibration, export_tflite, tflite

    require_folder(arguments.output)
    if arguments.threads < 1:
        raise ValueError(f"Expected --threads of 1 or more. Received: {arguments.threads}")
    wanted = arguments.calibration_images
    if wanted < 1:
        raise ValueError(f"Expected --calibration-images of 1 or more. Received: {wanted}")
    if arguments.precision == "int8" and arguments.calibration is None:
        raise ValueError("int8 needs images to calibrate with: give --calibration DIR")
    if arguments.calibration is not None:
        calibration.require_images(arguments.calibration)
    model = one(arguments)
    if arguments.weights is None and not arguments.model.endswith(".keras"):
        to_stderr("the weights are random: the file is for timing only (see --weights)")
    shape = tflite.input_shape(without_auxiliary_heads(model))
    if arguments.calibration is None:
        images = np.random.default_rng(0).normal(size=(_IMAGES_TO_VERIFY, *shape))
        ranges = None
        to_stderr("verifying with random images")
    else:
        images = calibration.load_images(
            arguments.calibration,
            shape,
            wanted + _IMAGES_TO_VERIFY,
            arguments.preprocessing,
        )
        # Those to verify with are others than those to calibrate with, where there are enough.
        enough = len(images) > min(wanted, _IMAGES_TO_VERIFY) + _IMAGES_TO_VERIFY - 1
        ranges = images[_IMAGES_TO_VERIFY:] if enough else images
        images = images[:_IMAGES_TO_VERIFY]
    artifact = export_tflite(
        model,
        arguments.output,
        images,
        precision=arguments.precision,
        calibration=ranges if arguments.precision == "int8" else None,
        lowering=arguments.lowering,
        threads=arguments.threads,
        report=to_stderr,
    )
    if artifact.choices:
        print(_choices(artifact.choices).text(), end="\n\n")
    operators = ", ".join(f"{count} {kind}" for kind, count in artifact.operators.items())
    print(
        f"{artifact.path}: {artifact.size:,} bytes, {artifact.precision}; {operators}.\n"
        f"Compared with Keras on {artifact.images} images: largest difference "
        f"{artifact.max_difference:.2g}, top-1 agreement {artifact.top1_agreement:.0%}."
    )
    return 0


def _choices(choices):
    """Layers of one shape share a row."""
    from keras_roots.tables import Table

    rows: dict = {}
    for each in choices:
        rows.setdefault((str(each.shape), each.lowering, each.reason), []).append(each.layer)
    return Table(
        ("layer", "shape", "lowering", "why"),
        [
            (names[0] + (f" and {len(names) - 1} more" if names[1:] else ""), *row)
            for row, names in rows.items()
        ],
        left=4,
    )
