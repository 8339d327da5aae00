"""`keras-roots lowerings`: how each convolution of a network is computed, and why."""

import argparse

from keras_roots.cli.options import add_model, add_root, show


def add(commands) -> None:
    command = commands.add_parser(
        "lowerings",
        help="how each convolution of a network is computed, and why",
        description="Prints the lowering that each pass of each of keras_roots's convolutions gets "
        "where it trains or predicts in Keras, and the reason. (`export` prints those of a file.)",
    )
    add_model(command)
    add_root(command, default=None, note="of a network by name (default: its own)")
    command.choice(
        "--context",
        ("tensorflow-cpu", "xla-cpu", "accelerator"),
        "where it runs: TensorFlow's own kernels on a CPU; compiled by XLA for a CPU, from "
        "TensorFlow (jit_compile=True) or JAX; or a GPU",
        default="tensorflow-cpu",
    )
    command.shared("--image-size", "--classes", "--set", "--format")
    command.set_defaults(run=_lowerings, weights=None)


def _lowerings(arguments: argparse.Namespace) -> None:
    from keras_roots.cli.models import one
    from keras_roots.lowering import report
    from keras_roots.surgery import explain

    explanations = explain(one(arguments), arguments.context)
    if not explanations:
        raise ValueError(
            f"{arguments.model!r} has no convolution of keras_roots: build it by name, or give it "
            "filter groups with keras_roots.rootify"
        )
    show(arguments, report.table(explanations))
