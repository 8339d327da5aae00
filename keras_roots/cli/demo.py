"""`keras-roots demo`: a root network beside its dense original, from data to files."""

import argparse

from keras_roots.cli.options import add_root, taken


def add(commands) -> None:
    command = commands.add_parser(
        "demo",
        help="train, export and time a root network beside its dense original",
        description="Trains dense and root Network in Network on real images, evaluates both on "
        "held-out images, exports both to TFLite, verifies and times the files, and writes a "
        "table, a plot and the models in one folder. A few minutes with the digits; an epoch "
        "of CIFAR-10 is 35 times as long as one of theirs.",
    )
    command.choice(
        "--dataset",
        ("digits", "cifar10"),
        "digits: 1,797 handwritten digits that scikit-learn carries; cifar10: as "
        "tensorflow-datasets prepared it",
        default="digits",
    )
    command.option(
        "--data-dir", "DIR", "folder where tensorflow-datasets keeps cifar10 (default: its own)"
    )
    add_root(command, default="8")
    command.number("--epochs", 5, "passes over the training images, for each network")
    command.number("--examples", None, "train with N images only (default: all)")
    command.option(
        "--output", "DIR", "folder of the results, which must be empty or new", default="results"
    )
    command.flag("--overwrite", "replace the results of an earlier run")
    command.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> None:
    from keras_roots.benchmark import demo

    names = ("output", "dataset", "data_dir", "root", "epochs", "examples", "overwrite")
    demo.run(**taken(arguments, *names))
