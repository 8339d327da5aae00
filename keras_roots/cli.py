"""`keras-roots`: each command parses its arguments and makes one library call.

Exit codes: 0 done, 1 a result that is not right, 2 a mistake in the arguments
or in what they name, 130 interrupted.
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

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
    _add_reproduce(commands)
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
        help="parameters and multiply-accumulates, by layer and by stage",
        description="Prints the parameters and multiply-accumulates (MACs) of a network for one "
        "image, by layer, by stage and in total; with --root, dense and grouped side by side.",
    )
    command.add_argument(
        "model",
        help="name of a network, such as resnet50, or a file that model.save wrote: model.keras",
    )
    command.add_argument("--root", type=_root, default="1", metavar="R", help=_ROOT_HELP)
    command.add_argument(
        "--convention",
        choices=("plain", "paper"),
        default="plain",
        help="plain: all parameters, and the kernels' multiply-accumulates; paper: the rule of the "
        "published tables, without batch normalisation and with biases (default: %(default)s)",
    )
    command.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="height and width (default: the network's; a file that leaves them open needs it)",
    )
    command.add_argument(
        "--classes", type=int, metavar="N", help="number of classes (default: the network's)"
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="an option of the network's factory, such as geometry=deep-roots or "
        "stride_in_1x1=false; may be repeated",
    )
    command.add_argument(
        "--by",
        choices=("layer", "stage", "total"),
        help="print this table only (default: by layer and by stage)",
    )
    _add_format(command)
    command.add_argument(
        "--plot", metavar="FILE", help="write bars by layer to a .png, .pdf or .svg as well"
    )
    command.set_defaults(run=_cost)


def _cost(arguments: argparse.Namespace) -> int:
    from keras_roots import cost_report
    from keras_roots.cost import cost

    if arguments.plot is not None:
        cost_report.require_plot(arguments.plot)
    size = arguments.image_size
    if size is not None and size < 1:
        raise ValueError(f"Expected --image-size of 1 or more. Received: {size}")
    dense, grouped, input_shape = _models(arguments, size)
    counted = cost(dense, arguments.convention, input_shape)
    beside = None if grouped is None else cost(grouped, arguments.convention, input_shape)
    tables = {"layer": cost_report.by_layer, "stage": cost_report.by_stage}
    tables["total"] = cost_report.total
    # A CSV file is one table.
    names = [arguments.by] if arguments.by else ["layer", "stage"]
    if arguments.format == "csv":
        names = names[:1]
    print(
        "\n\n".join(_formatted(tables[name](counted, beside), arguments.format) for name in names)
    )
    for each in (counted, beside):
        if each is not None and each.uncounted and arguments.format != "csv":
            print(f"\n{each.model}: not counted, for want of a rule: {', '.join(each.uncounted)}")
    if arguments.plot is not None:
        cost_report.plot(arguments.plot, counted, beside)
        print(f"keras-roots: bars by layer are in {arguments.plot}", file=sys.stderr)
    return 0


def _models(arguments: argparse.Namespace, size: int | None):
    """The dense network, the one with groups if asked for, and a shape for cost()."""
    from keras_roots.models import build
    from keras_roots.models.application import shape_of_size
    from keras_roots.rootify import rootify

    grouped = arguments.root != topology.root(1)
    if arguments.model.endswith(".keras"):
        for name in ("classes", "set"):
            if getattr(arguments, name):
                raise ValueError(f"--{name} is for networks that are built by name, not for files")
        dense = _load(arguments.model)
        shape = _filled(dense, size)  # Raises before the work.
        return dense, rootify(dense, arguments.root, report=None) if grouped else None, shape
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
    _check_factory_options(arguments.model, dict(arguments.set))
    rooted = build(arguments.model, root=arguments.root, **options) if grouped else None
    return build(arguments.model, root=1, **options), rooted, None


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


def _check_factory_options(model: str, options: dict) -> None:
    from keras_roots.models import network

    known = network(model).options
    for name in options:
        if name in ("root", "classes"):
            raise ValueError(f"{name} has an option of its own: --{name}")
        if name not in known:
            have = f"has {', '.join(known)}" if known else "has none"
            raise ValueError(f"{model} has no option {name!r}; it {have}")


def _load(path: str):
    """A saved model; nothing that is code in the file is run."""
    import keras

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path!r}.")
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # zipfile, h5py and Keras each have their own.
        raise ValueError(f"{path!r} cannot be loaded as a Keras model: {error}") from error


def _add_format(command) -> None:
    command.add_argument(
        "--format",
        choices=("text", "markdown", "csv"),
        default="text",
        help="of the tables (default: %(default)s)",
    )


def _formatted(table, name: str) -> str:
    return getattr(table, name)().rstrip("\n")


def _add_reproduce(commands) -> None:
    command = commands.add_parser(
        "reproduce",
        help="the paper's tables, with our counts beside the published",
        description="Builds every network of the paper's tables, counts it, and prints the "
        "published figures beside the computed: exact, or with the reason why they differ. "
        "About a minute. Exit code 1 if one differs for no reason that is known.",
    )
    command.add_argument(
        "table",
        nargs="*",
        metavar="TABLE",
        help="resnet50, resnet200, googlenet, nin or alexnet (default: all)",
    )
    _add_format(command)
    command.set_defaults(run=_reproduce)


def _reproduce(arguments: argparse.Namespace) -> int:
    from keras_roots import paper

    reproductions = paper.reproduce(
        arguments.table or None, report=lambda line: print(line, file=sys.stderr)
    )
    if arguments.format == "csv":
        print(_formatted(paper.records(reproductions), "csv"))
    else:
        heading = "### {}" if arguments.format == "markdown" else "{}"
        for each in reproductions:
            print(heading.format(each.title), end="\n\n")
            print(_formatted(each.table(), arguments.format), end="\n\n")
            for note in each.notes:
                print(textwrap.fill(note, 100), end="\n\n")
    return 0 if all(each.complete for each in reproductions) else 1


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
    command = kinds.add_parser(
        "build",
        help="building a network, beside one of keras.applications",
        description="Times how long it takes to build a network and to draw its weights, beside "
        "one of keras.applications, interleaved; and for each layer.",
    )
    command.add_argument("model", help="name of a network, such as resnet200")
    command.add_argument("--root", type=_root, default="16", metavar="R", help=_ROOT_HELP)
    command.add_argument(
        "--reference",
        default="ResNet152V2",
        metavar="NAME",
        help="a network of keras.applications (default: %(default)s)",
    )
    command.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="how often each is built"
    )
    command.set_defaults(run=_benchmark_build)


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


def _benchmark_build(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark.building import building
    from keras_roots.benchmark.measure import conditions, describe
    from keras_roots.tables import Table

    results = building(
        arguments.model,
        arguments.root,
        reference=arguments.reference,
        rounds=arguments.rounds,
        progress=lambda done: print(f"round {done}/{arguments.rounds}", file=sys.stderr),
    )
    rows = []
    for name, (layers, timings) in results.items():
        median, p10, p90 = (timings.percentile(p) for p in (50, 10, 90))
        seconds = f"{median:.2f} ({p10:.2f} to {p90:.2f})"
        rows.append((name, str(layers), seconds, f"{1e3 * median / layers:.2f}"))
    spread = "building, s: median (10th to 90th percentile)"
    print(Table(("network", "layers", spread, "ms a layer"), rows).markdown())
    ours, theirs = (timings.median / layers for layers, timings in results.values())
    print(f"\nA layer takes {ours / theirs:.2f} of the reference's time.")
    print(f"\n{describe(conditions(rounds=arguments.rounds))}")
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


def _option(text: str) -> tuple[str, object]:
    """NAME=VALUE from the command line, where true and false are what they say."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE; received {text!r}")
    return name, {"true": True, "false": False}.get(value.lower(), value)
