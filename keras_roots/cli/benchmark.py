"""`keras-roots benchmark`: speed on this machine, a sub-command for each measurement."""

import argparse

from keras_roots.cli import benchmark_networks, benchmark_steps
from keras_roots.cli.benchmark_options import (
    DEFAULT,
    OF_FILES,
    add_calibration,
    add_choice,
    add_kind,
    add_model,
    add_number,
    add_output,
    add_plot,
    add_rounds,
    given,
    heading,
    print_measured,
    print_parts,
)
from keras_roots.cli.options import add_format, add_root, add_set, require_outputs, to_stderr

_INFERENCES = "turns of each, of three inferences"


def add(commands) -> None:
    benchmark = commands.add_parser("benchmark", help="measure speed on this machine")
    kinds = benchmark.add_subparsers(required=True, metavar="WHAT")
    benchmark_networks.add(kinds)
    benchmark_steps.add(kinds)
    command = add_kind(
        kinds,
        "fine-tuning",
        _fine_tuning,
        "updates while a network is pruned, clustered or quantised",
    )
    add_model(command)
    add_root(command, "16")
    add_number(command, "--image-size", "(default: the network's)")
    add_number(command, "--batch-size", DEFAULT, 8)
    add_rounds(command, f"timed updates of each {DEFAULT}")
    command.add_argument(
        "--no-stock", action="store_true", help="leave the last out, which takes long"
    )
    add_format(command)
    command = add_kind(
        kinds, "build", _build, "building a network, beside one of keras.applications"
    )
    add_model(command, "resnet200")
    add_root(command, default="16")
    command.add_argument(
        "--reference",
        default="ResNet152V2",
        metavar="NAME",
        help=f"a network of keras.applications {DEFAULT}",
    )
    add_rounds(command, "how often each is built", 5)
    command = add_kind(
        kinds, "input", _input, "the input pipeline of a training, beside decoding alone"
    )
    command.add_argument("folder", help="photographs, in it or below: *.jpg, *.jpeg")
    add_number(command, "--image-size", default=224)
    add_number(command, "--batch-size", default=32)
    rand_augment = "operations of RandAugment for an image, on top (default: none)"
    add_number(command, "--rand-augment", rand_augment, 0)
    add_number(command, "--images", f"of a turn {DEFAULT}", 2000)
    add_rounds(command, "turns of each")
    add_format(command)
    command = add_kind(
        kinds, "inference", _inference, "latency of networks in LiteRT: stock conversion, and ours"
    )
    add_model(command)
    add_root(command, None, "may be repeated (default: 16 and 64)", action="append")
    add_set(command)
    add_choice(command, "--precision", OF_FILES, "may be repeated (default: both)", several=True)
    add_number(command, "--threads", "may be repeated (default: 1)", several=True)
    add_choice(
        command,
        "--lowering",
        ("native", "auto", "tuned"),
        "as of export; may be repeated, and the last is the one that is compared with the bound "
        "(default: native and auto)",
        several=True,
    )
    command.add_argument(
        "--runtime",
        action="append",
        default=[],
        choices=("openvino", "onnxruntime"),
        help="time root-1, -16 and -64 there as well, in float32; may be repeated",
    )
    add_calibration(command, "int8", "random ones")
    add_rounds(command, _INFERENCES, 15)
    add_format(command)
    add_output(command)
    command = add_kind(
        kinds,
        "plot",
        _plot,
        "a picture of what `benchmark inference` or `benchmark steps` wrote with -o",
    )
    files = "CSV files of one network that one of the two wrote"
    command.add_argument("file", nargs="+", help=files)
    add_plot(command)
    command = add_kind(
        kinds, "simplifications", _simplifications, "what each step of the exporter brings"
    )
    add_model(command)
    add_root(command, default="16")
    add_choice(command, "--precision", OF_FILES, default="float32")
    add_number(command, "--threads", default=1)
    add_rounds(command, _INFERENCES, 15)
    add_format(command)
    command = add_kind(kinds, "operators", _operators, "where the time of a TFLite file goes")
    command.add_argument("file", help="a TFLite file, whoever made it")
    add_number(command, "--threads", default=1)
    add_rounds(command, "turns of each, of three runs")
    add_format(command)


def _fine_tuning(arguments: argparse.Namespace) -> int:
    """Times updates of a network of random weights, in turns: as training makes them; in tf-keras,
    to which `keras-roots compress` brings a network; with each of tensorflow-model-optimization's
    wrappers; and the last with tf-keras's own grouped convolutions.
    """
    from keras_roots.benchmark import fine_tuning_updates
    from keras_roots.timing import conditions, describe

    found = fine_tuning_updates.updates(
        arguments.model,
        arguments.root,
        stock=not arguments.no_stock,
        report=to_stderr,
        **given(arguments, "image_size", "batch_size", "rounds"),
    )
    where = describe(conditions(rounds=arguments.rounds))
    what = f"{found.network}, {found.image_size}x{found.image_size}, batch {found.batch_size}"
    print_parts(arguments.format, found.table(), f"{what}; {where}")
    return 0


def _build(arguments: argparse.Namespace) -> int:
    """Times how long it takes to build a network and to draw its weights, beside one of
    keras.applications, interleaved; and for each layer.
    """
    from keras_roots.benchmark.building import building
    from keras_roots.reporting import Table, numbers
    from keras_roots.timing import conditions, describe

    named = given(arguments, "model", "root", "reference", "rounds")
    results = building(**named, report=to_stderr)
    rows = []
    for name, (layers, timings) in results.items():
        median, *ends = (timings.percentile(p) for p in (50, 10, 90))
        seconds = f"{median:.2f} ({numbers.interval(ends)})"
        rows.append((name, str(layers), seconds, f"{1e3 * median / layers:.2f}"))
    spread = "building, s: median (10th to 90th percentile)"
    ours, theirs = (timings.median / layers for layers, timings in results.values())
    print_parts(
        "markdown",
        Table(("network", "layers", spread, "ms a layer"), rows),
        f"A layer takes {ours / theirs:.2f} of the reference's time.",
        describe(conditions(rounds=arguments.rounds)),
    )
    return 0


def _inference(arguments: argparse.Namespace) -> int:
    """Exports a network of random weights with several filter groups, as stock Keras and
    TensorFlow convert it and as keras_roots does, and times all files of one precision and number
    of threads in turns. Beside them stands the proportional bound: the latency of our dense
    network, each grouped layer's dense time divided by its groups.
    """
    from keras_roots.benchmark import inference
    from keras_roots.benchmark.measured import write_csv
    from keras_roots.cli.models import check_factory_options
    from keras_roots.reporting import Table, numbers
    from keras_roots.timing import conditions, describe

    require_outputs(arguments.output)
    options = dict(arguments.set)
    check_factory_options(arguments.model, options)
    runs = inference.inference(
        arguments.model,
        arguments.root or [16, 64],
        options=options,
        report=to_stderr,
        **given(
            arguments,
            *("threads", "rounds", "calibration"),
            precisions="precision",
            lowerings="lowering",
            other_runtimes="runtime",
        ),
    )
    record = conditions(**options, batch=1, rounds=arguments.rounds)
    parts: list[str | Table] = []
    for run in runs:
        title = f"{run.network}, {run.precision}, {numbers.counted(run.threads, 'thread')}"
        parts += [heading(arguments.format, title), inference.table(run), run.product()]
    print_parts(arguments.format, *parts, describe(record), csv_gap="\n")
    if arguments.output is not None:
        write_csv(arguments.output, runs, record)
        to_stderr(f"keras-roots: the figures are in {arguments.output}")
    return 0


def _input(arguments: argparse.Namespace) -> int:
    """Times how many photographs a second the input pipeline makes batches of, with the paper's
    augmentation and the full one, beside decoding the same files whole and decoding the same
    crops; on all cores, in turns.
    """
    import os

    from keras_roots.benchmark.input import input_speed, table
    from keras_roots.training import Config

    of_config = ("image_size", "batch_size", "rand_augment")
    resize = round(arguments.image_size * 256 / 224)
    config = Config(resize=resize, **given(arguments, *of_config))
    named = given(arguments, "folder", "rounds", count="images")
    timings = input_speed(config=config, report=to_stderr, **named)
    found = table(timings, os.cpu_count() or 1)
    print_measured(arguments, found, *of_config, "images", "rounds")
    return 0


def _simplifications(arguments: argparse.Namespace) -> int:
    """Times a network of random weights in LiteRT as stock Keras and TensorFlow convert it, and as
    keras_roots does after each of its simplifications, in turns.
    """
    from keras_roots.benchmark import simplifications
    from keras_roots.models import build

    options = ("precision", "threads", "rounds")
    model = build(arguments.model, root=arguments.root)
    timings = simplifications.simplifications(model, report=to_stderr, **given(arguments, *options))
    network = f"{arguments.model} {arguments.root}"
    print_measured(arguments, simplifications.table(timings), *options, network=network)
    return 0


def _operators(arguments: argparse.Namespace) -> int:
    """Times each distinct operator of a TFLite file alone, cut out of it, and the file itself, in
    turns.
    """
    from keras_roots.benchmark.operators import profile

    options = ("threads", "rounds")
    found = profile(arguments.file, **given(arguments, *options))
    print_measured(arguments, found.table(), *options)
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    """Draws time over multiply-accumulates, both relative to the stock dense network."""
    from keras_roots.benchmark import relative_plot

    require_outputs(plot=arguments.output)
    rows = [row for file in arguments.file for row in relative_plot.read(file)]
    relative_plot.plot(arguments.output, rows)
    to_stderr(f"keras-roots: the plot is in {arguments.output}")
    return 0
