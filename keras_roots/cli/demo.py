"""`keras-roots demo`: a root network beside its dense original, from data to files."""

import argparse

from keras_roots.cli.options import add_root


def add(commands) -> None:
    command = commands.add_parser(
        "demo",
        help="train, export and time a root network beside its dense original",
        description="Trains dense and root Network in Network on real images, evaluates both on "
        "held-out images, exports both to TFLite, verifies and times the files, and writes a "
        "table, a plot and the models in one folder. A few minutes with the digits; an epoch "
        "of CIFAR-10 is 35 times as long as one of theirs.",
    )
    command.add_argument(
        "--dataset",
        choices=("digits", "cifar10"),
        default="digits",
        help="digits: 1,797 handwritten digits that scikit-learn carries; cifar10: as "
        "tensorflow-datasets prepared it (default: %(default)s)",
    )
    command.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder where tensorflow-datasets keeps cifar10 (default: its own)",
    )
    add_root(command, default="8")
    command.add_argument(
        "--epochs",
        type=int,
        default=5,
        metavar="N",
        help="passes over the training images, for each network (default: %(default)s)",
    )
    command.add_argument(
        "--examples", type=int, metavar="N", help="train with N images only (default: all)"
    )
    command.add_argument(
        "-o",
        "--output",
        default="results",
        metavar="DIR",
        help="folder of the results, which must be empty or new (default: %(default)s)",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace the results of an earlier run"
    )
    command.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import demo

    demo.run(
        output=arguments.output,
        dataset=arguments.dataset,
        data_dir=arguments.data_dir,
        root=arguments.root,
        epochs=arguments.epochs,
        examples=arguments.examples,
        overwrite=arguments.overwrite,
    )
    return 0
