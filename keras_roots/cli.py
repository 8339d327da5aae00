"""`keras-roots`: each command parses its arguments and makes one library call.

Exit codes: 0 done, 1 a result that is not right, 2 a mistake in the arguments
or in what they name, 130 interrupted.
"""

import argparse
import re
import sys
from collections.abc import Sequence

from keras_roots import topology

_ROOT_HELP = (
    "filter groups: R for root-R (1 is dense), column-R, tree-R, or degrees level by level, such "
    "as 16,8,4,2 (default: %(default)s)"
)


class _Parser(argparse.ArgumentParser):
    """One whose mistakes are one line, as all of this program's are."""

    def error(self, message):
        self.exit(2, f"keras-roots: {message} (see `{self.prog} --help`)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"keras-roots: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"keras-roots: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("keras-roots: interrupted; files already written are whole", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="keras-roots",
        description="Convolutional networks with hierarchical filter groups, for Keras 3.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_cost(commands)
    _add_benchmark(commands)
    return parser


def _add_demo(commands) -> None:
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
    command.add_argument("--root", type=_root, default="8", metavar="R", help=_ROOT_HELP)
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
    from keras_roots import demo

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


def _add_cost(commands) -> None:
    command = commands.add_parser(
        "cost",
        help="parameters and multiply-accumulates, layer by layer",
        description="Prints the parameters and multiply-accumulates of a network for one image.",
    )
    command.add_argument("model", help="name of a network, such as resnet50 or nin")
    command.add_argument("--root", type=_root, default="1", metavar="R", help=_ROOT_HELP)
    command.add_argument(
        "--convention",
        choices=("plain", "paper"),
        default="plain",
        help="plain: all parameters, and the kernels' multiply-accumulates; paper: the rule of the "
        "published tables, without batch normalisation and with biases (default: %(default)s)",
    )
    command.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="height and width (default: the network's)"
    )
    command.add_argument(
        "--classes", type=int, metavar="N", help="number of classes (default: the network's)"
    )
    command.set_defaults(run=_cost)


def _cost(arguments: argparse.Namespace) -> int:
    from keras_roots.cost import cost
    from keras_roots.models import build

    options = {}
    if arguments.image_size is not None:
        options["input_shape"] = (arguments.image_size, arguments.image_size, 3)
    if arguments.classes is not None:
        options["classes"] = arguments.classes
    model = build(arguments.model, root=arguments.root, **options)
    print(cost(model, convention=arguments.convention))
    return 0


def _add_benchmark(commands) -> None:
    benchmark = commands.add_parser("benchmark", help="measure speed on this machine")
    kinds = benchmark.add_subparsers(required=True, metavar="WHAT")
    command = kinds.add_parser(
        "train-step",
        help="a train step: dense, with filter groups, and the latter in stock Keras",
        description="Times train steps of a dense network, of the same with filter groups, and "
        "of the latter with stock keras.layers.Conv2D, interleaved, on random images.",
    )
    command.add_argument("model", help="name of a network, such as resnet50")
    command.add_argument("--root", type=_root, default="16", metavar="R", help=_ROOT_HELP)
    command.add_argument("--image-size", type=int, default=128, metavar="PIXELS")
    command.add_argument("--batch-size", type=int, default=8, metavar="N")
    command.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="timed steps of each form"
    )
    command.set_defaults(run=_benchmark_train_step)


def _benchmark_train_step(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark.measure import conditions, describe
    from keras_roots.benchmark.train_step import train_step

    timings = train_step(
        arguments.model,
        arguments.root,
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        rounds=arguments.rounds,
        progress=lambda done: print(f"round {done}/{arguments.rounds}", file=sys.stderr),
    )
    dense, grouped, stock = (timing.median for timing in timings.values())
    print("| form | train step, s: median (10th to 90th percentile) | / dense |")
    print("|---|---:|---:|")
    for name, timing in timings.items():
        median, p10, p90 = (timing.percentile(p) for p in (50, 10, 90))
        print(f"| {name} | {median:.3f} ({p10:.3f} to {p90:.3f}) | {median / dense:.2f} |")
    print(f"\n{arguments.root}: {stock / grouped:.1f} times faster than with stock convolutions")
    record = conditions(
        network=arguments.model,
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        rounds=arguments.rounds,
    )
    print(f"\n{describe(record)}")
    return 0


def _root(text: str) -> topology.Topology:
    """A topology from the command line."""
    match = re.fullmatch(r"(?:(root|column|tree)-)?(-?\d+)", text)
    try:
        if match:
            make = getattr(topology, match[1] or "root")
            return make(int(match[2]))
        if re.fullmatch(r"\d+(,\d+)+", text):
            return topology.as_topology([int(degree) for degree in text.split(",")])
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    raise argparse.ArgumentTypeError(
        f"expected 16, column-8, tree-4 or degrees such as 16,8,4,2; received {text!r}"
    )
