"""`keras-roots benchmark networks | compare | figure`: latency of networks, however they run."""

import argparse
from pathlib import Path

from keras_roots.cli.options import (
    add_format,
    add_root,
    add_set,
    formatted,
    require_outputs,
    to_stderr,
)

_ACCURACY = (
    "a CSV file with columns network, topology, top1 and maybe top5, 0 to 1; or 'paper' for the "
    "accuracies that the paper reports, which are not of what is measured here"
)


def add(kinds) -> None:
    _add_networks(kinds)
    command = kinds.add_parser(
        "compare",
        help="two files of `benchmark networks`, candidate by candidate",
        description="Prints the new time over the old of each candidate that is in both files, "
        "with its interval, or that there is no difference to tell; and each run's own ratio to "
        "the dense network, which survives a change of machine. Conditions that differ are listed.",
    )
    command.add_argument("old", help="a JSON file that `benchmark networks -o` wrote")
    command.add_argument("new", help="another")
    add_format(command)
    command.set_defaults(run=_compare)
    command = kinds.add_parser(
        "figure",
        help="a picture of what `benchmark networks` wrote, like the paper's Figure 3",
        description="Draws top-1 error over parameters, multiply-accumulates, CPU and GPU latency; "
        "without --accuracy each of these relative to the dense network.",
    )
    command.add_argument("file", help="a JSON file that `benchmark networks -o` wrote")
    command.add_argument("--accuracy", metavar="FILE|paper", help=_ACCURACY)
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="a .png, .pdf or .svg"
    )
    command.set_defaults(run=_figure)


def _add_networks(kinds) -> None:
    command = kinds.add_parser(
        "networks",
        help="networks x filter groups x runtimes x precision x threads x batch, as in Table 1",
        description="Times inferences of networks, dense and with filter groups, in every "
        "combination of runtime, precision, threads and batch that exists; on the GPU, too, where "
        "there is one. Each candidate runs in a process of its own, and those of one combination "
        "take turns. Prints a table like the paper's Table 1, and percentiles, loading, "
        "compilation and memory of each. The file of results is written after each combination; "
        "an interrupted run goes on if given the same file.",
    )
    command.add_argument(
        "model",
        nargs="+",
        help="names of networks, such as resnet50, which get random weights; or model.keras and "
        "model.tflite files, of which the first is what others are relative to",
    )
    add_root(
        command,
        None,
        "of networks by name, beside the dense one; may be repeated (default: 16)",
        action="append",
    )
    add_set(command)
    command.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="height and width (default: the network's; a .keras file that leaves them open needs "
        "it)",
    )
    command.add_argument(
        "--runtime",
        action="append",
        metavar="NAME",
        help="litert; tensorflow; xla: TensorFlow, compiled by XLA; jax: Keras on JAX, which needs "
        "no TensorFlow (KERAS_BACKEND=jax). May be repeated (default: litert)",
    )
    command.add_argument(
        "--precision",
        action="append",
        metavar="NAME",
        help="in litert: float32, float16, dynamic, int8 or int8x16, as of export; others run "
        "float32. May be repeated (default: float32)",
    )
    command.add_argument(
        "--device",
        action="append",
        metavar="NAME",
        help="cpu or gpu; may be repeated (default: what there is)",
    )
    command.add_argument(
        "--threads",
        type=int,
        action="append",
        metavar="N",
        help="on the CPU; may be repeated (default: 1)",
    )
    command.add_argument(
        "--batch",
        type=int,
        action="append",
        metavar="N",
        help="images of an inference; may be repeated (default: 1)",
    )
    command.add_argument(
        "--rounds",
        type=int,
        default=12,
        metavar="N",
        help="turns of each; fewer than 6 tell nothing of ratios (default: %(default)s)",
    )
    command.add_argument(
        "--per-turn",
        type=int,
        default=10,
        metavar="N",
        help="timed inferences in a turn (default: %(default)s)",
    )
    command.add_argument(
        "--calibration",
        metavar="DIR",
        help="folder of photographs to calibrate int8 and int8x16 with, normalised as ImageNet's "
        "(default: random images)",
    )
    command.add_argument("--accuracy", metavar="FILE|paper", help=_ACCURACY)
    command.add_argument(
        "--beside-paper",
        action="store_true",
        help="the paper's accuracies and milliseconds beside ours, with their ratios",
    )
    add_format(command)
    command.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="write all of it, each single time too, as JSON",
    )
    command.add_argument("--csv", metavar="FILE", help="write a row for each candidate as CSV")
    command.add_argument(
        "--plot", metavar="FILE", help="draw it as `benchmark figure` does: a .png, .pdf or .svg"
    )
    command.set_defaults(run=_networks)


def _networks(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import accuracies, networks, networks_plot, networks_table, records
    from keras_roots.benchmark.networks_plan import plan
    from keras_roots.cli.models import check_factory_options, load
    from keras_roots.timing.measure import describe

    require_outputs(arguments.output, arguments.csv, plot=arguments.plot)
    names = [model for model in arguments.model if Path(model).suffix not in (".keras", ".tflite")]
    options = dict(arguments.set)
    for name in names:
        check_factory_options(name, options)
    if (options or arguments.root) and not names:
        raise ValueError("--root and --set are for networks that are built by name, not for files")
    known = None if arguments.accuracy is None else accuracies.accuracies(arguments.accuracy)
    wanted = plan(
        arguments.model,
        arguments.root or [16],
        options=options,
        image_size=arguments.image_size,
        runtimes=list(dict.fromkeys(arguments.runtime or ["litert"])),
        precisions=arguments.precision,
        devices=arguments.device,
        threads=arguments.threads or [1],
        batches=arguments.batch or [1],
        rounds=arguments.rounds,
        per_turn=arguments.per_turn,
        calibration=arguments.calibration,
        load=load,
    )
    if known is not None:
        known.require_some(wanted.names())
    results = networks.measure(wanted, arguments.output, report=to_stderr)
    results = networks.selected(results, wanted)
    heading = "### " if arguments.format == "markdown" else ""
    about = {"beside_paper": arguments.beside_paper}
    for title, table in networks_table.tables(results, known, **about):
        if arguments.format != "csv":
            print(f"{heading}{title}\n")
        print(formatted(table, arguments.format), end="\n\n")
    if arguments.format != "csv":
        print("\n\n".join(networks_table.notes(results, known, **about)), end="\n\n")
        print(formatted(networks_table.details(results), arguments.format), end="\n\n")
        print(describe(results.conditions))
    if arguments.csv is not None:
        records.write_csv(arguments.csv, results)
    if arguments.plot is not None:
        networks_plot.plot(arguments.plot, results, known)
    for path in filter(None, (arguments.output, arguments.csv, arguments.plot)):
        to_stderr(f"keras-roots: written: {path}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import comparison, records

    old, new = records.read(arguments.old), records.read(arguments.new)
    pairs = comparison.compare(old, new)
    print(formatted(comparison.table(pairs), arguments.format))
    if arguments.format != "csv":
        print(f"\n{comparison.NOTE}\n")
        differing = comparison.differing_conditions(old, new)
        print("Conditions that differ (old; new):" if differing else "The conditions are the same.")
        print("\n".join(f"- {line}" for line in differing))
    return 0


def _figure(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import accuracies, networks_plot, records

    require_outputs(plot=arguments.output)
    results = records.read(arguments.file)
    known = None if arguments.accuracy is None else accuracies.accuracies(arguments.accuracy)
    networks_plot.plot(arguments.output, results, known)
    to_stderr(f"keras-roots: the plot is in {arguments.output}")
    return 0
