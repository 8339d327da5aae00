"""`keras-roots lowerings`: how each convolution of a network is computed, and why."""

import argparse

from keras_roots.cli.options import (
    add_format,
    add_image_size_and_classes,
    add_root,
    add_set,
    formatted,
)


def add(commands) -> None:
    command = commands.add_parser(
        "lowerings",
        help="how each convolution of a network is computed, and why",
        description="Prints the lowering that each pass of each of keras_roots's convolutions gets "
        "where it trains or predicts in Keras, and the reason. (`export` prints those of a file.)",
    )
    command.add_argument(
        "model",
        help="name of a network, such as resnet50, or a file that model.save wrote: model.keras",
    )
    add_root(command, default=None, note="of a network by name (default: its own)")
    command.add_argument(
        "--context",
        choices=("tensorflow-cpu", "xla-cpu", "accelerator"),
        default="tensorflow-cpu",
        help="where it runs: TensorFlow's own kernels on a CPU; compiled by XLA for a CPU, from "
        "TensorFlow (jit_compile=True) or JAX; or a GPU (default: %(default)s)",
    )
    add_image_size_and_classes(command)
    add_set(command)
    add_format(command)
    command.set_defaults(run=_lowerings, weights=None)


def _lowerings(arguments: argparse.Namespace) -> int:
    from keras_roots.cli.models import one
    from keras_roots.lowering import report
    from keras_roots.surgery.convolutions import explain

    explanations = explain(one(arguments), arguments.context)
    if not explanations:
        raise ValueError(
            f"{arguments.model!r} has no convolution of keras_roots: build it by name, or give it "
            "filter groups with keras_roots.rootify"
        )
    print(formatted(report.table(explanations), arguments.format))
    return 0
