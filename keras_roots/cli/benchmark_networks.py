"""`keras-roots benchmark networks | compare | figure`: latency of networks, however they run."""

import argparse
from pathlib import Path

from keras_roots.cli.benchmark_options import (
    DEFAULT,
    add_calibration,
    add_kind,
    add_number,
    add_output,
    add_plot,
    add_rounds,
    given,
    heading,
    print_parts,
)
from keras_roots.cli.options import (
    add_format,
    add_root,
    add_set,
    formatted,
    require_outputs,
    to_stderr,
)

_FILE = "a JSON file that `benchmark networks -o` wrote"
_ACCURACY = (
    "a CSV file with columns network, topology, top1 and maybe top5, 0 to 1; or 'paper' for the "
    "accuracies that the paper reports, which are not of what is measured here"
)


def add(kinds) -> None:
    command = add_kind(
        kinds,
        "networks",
        _networks,
        "networks x filter groups x runtimes x precision x threads x batch, as in Table 1",
    )
    command.add_argument(
        "model",
        nargs="+",
        help="names of networks, such as resnet50, which get random weights; or model.keras and "
        "model.tflite files, of which the first is what others are relative to",
    )
    roots = "of networks by name, beside the dense one; may be repeated (default: 16)"
    add_root(command, None, roots, action="append")
    add_set(command)
    size = "the network's; a .keras file that leaves them open needs it"
    add_number(command, "--image-size", f"height and width (default: {size})")
    for option, note in (
        (
            "--runtime",
            "litert; tensorflow; xla: TensorFlow, compiled by XLA; jax: Keras on JAX, which needs "
            "no TensorFlow (KERAS_BACKEND=jax). May be repeated (default: litert)",
        ),
        (
            "--precision",
            "in litert: float32, float16, dynamic, int8 or int8x16, as of export; others run "
            "float32. May be repeated (default: float32)",
        ),
        ("--device", "cpu or gpu; may be repeated (default: what there is)"),
    ):
        command.add_argument(option, action="append", metavar="NAME", help=note)
    add_number(command, "--threads", "on the CPU; may be repeated (default: 1)", several=True)
    images = "images of an inference; may be repeated (default: 1)"
    add_number(command, "--batch", images, several=True)
    add_rounds(command, f"turns of each; fewer than 6 tell nothing of ratios {DEFAULT}", 12)
    add_number(command, "--per-turn", f"timed inferences in a turn {DEFAULT}", 10)
    add_calibration(command, "int8 and int8x16", "random images")
    command.add_argument("--accuracy", metavar="FILE|paper", help=_ACCURACY)
    command.add_argument(
        "--beside-paper",
        action="store_true",
        help="the paper's accuracies and milliseconds beside ours, with their ratios",
    )
    add_format(command)
    add_output(command, "write all of it, each single time too, as JSON", required=True)
    command.add_argument("--csv", metavar="FILE", help="write a row for each candidate as CSV")
    command.add_argument(
        "--plot", metavar="FILE", help="draw it as `benchmark figure` does: a .png, .pdf or .svg"
    )
    command = add_kind(
        kinds, "compare", _compare, "two files of `benchmark networks`, candidate by candidate"
    )
    command.add_argument("old", help=_FILE)
    command.add_argument("new", help="another")
    add_format(command)
    command = add_kind(
        kinds,
        "figure",
        _figure,
        "a picture of what `benchmark networks` wrote, like the paper's Figure 3",
    )
    command.add_argument("file", help=_FILE)
    command.add_argument("--accuracy", metavar="FILE|paper", help=_ACCURACY)
    add_plot(command)


def _networks(arguments: argparse.Namespace) -> int:
    """Times inferences of networks, dense and with filter groups, in every combination of runtime,
    precision, threads and batch that exists; on the GPU, too, where there is one. Each candidate
    runs in a process of its own, and those of one combination take turns. Prints a table like the
    paper's Table 1, and percentiles, loading, compilation and memory of each. The file of results
    is written after each combination; an interrupted run goes on if given the same file.
    """
    from keras_roots.benchmark import accuracies, networks, networks_plot, networks_table, records
    from keras_roots.benchmark.networks_plan import plan
    from keras_roots.cli.models import check_factory_options, load
    from keras_roots.reporting import Table
    from keras_roots.timing import describe

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
        load=load,
        **given(
            arguments,
            *("image_size", "threads", "rounds", "per_turn", "calibration"),
            runtimes="runtime",
            precisions="precision",
            devices="device",
            batches="batch",
        ),
    )
    if known is not None:
        known.require_some(wanted.names())
    results = networks.measure(wanted, arguments.output, report=to_stderr)
    results = networks.selected(results, wanted)
    about = {"beside_paper": arguments.beside_paper}
    parts: list[str | Table] = []
    for title, table in networks_table.tables(results, known, **about):
        parts += [heading(arguments.format, title), table]
    parts += networks_table.notes(results, known, **about)
    parts.append(formatted(networks_table.details(results), arguments.format))
    print_parts(arguments.format, *parts, describe(results.conditions))
    if arguments.csv is not None:
        records.write_csv(arguments.csv, results)
    if arguments.plot is not None:
        networks_plot.plot(arguments.plot, results, known)
    for path in filter(None, (arguments.output, arguments.csv, arguments.plot)):
        to_stderr(f"keras-roots: written: {path}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    """Prints the new time over the old of each candidate that is in both files, with its interval,
    or that there is no difference to tell; and each run's own ratio to the dense network, which
    survives a change of machine. Conditions that differ are listed.
    """
    from keras_roots.benchmark import comparison, records

    old, new = records.read(arguments.old), records.read(arguments.new)
    pairs = comparison.compare(old, new)
    differing = comparison.differing_conditions(old, new)
    said = "Conditions that differ (old; new):" if differing else "The conditions are the same."
    lines = "\n".join(f"- {line}" for line in differing)
    table = comparison.table(pairs)
    print_parts(arguments.format, table, comparison.NOTE, f"{said}\n{lines}")
    return 0


def _figure(arguments: argparse.Namespace) -> int:
    """Draws top-1 error over parameters, multiply-accumulates, CPU and GPU latency; without
    --accuracy each of these relative to the dense network.
    """
    from keras_roots.benchmark import accuracies, networks_plot, records

    require_outputs(plot=arguments.output)
    results = records.read(arguments.file)
    known = None if arguments.accuracy is None else accuracies.accuracies(arguments.accuracy)
    networks_plot.plot(arguments.output, results, known)
    to_stderr(f"keras-roots: the plot is in {arguments.output}")
    return 0
