"""`keras-roots benchmark`: speed on this machine, a sub-command for each measurement."""

import argparse

from keras_roots.cli import benchmark_fine_tuning, benchmark_networks, benchmark_steps
from keras_roots.cli.options import (
    add_format,
    add_root,
    add_set,
    formatted,
    print_table,
    require_outputs,
    to_stderr,
)


def add(commands) -> None:
    benchmark = commands.add_parser("benchmark", help="measure speed on this machine")
    kinds = benchmark.add_subparsers(required=True, metavar="WHAT")
    benchmark_networks.add(kinds)
    benchmark_steps.add(kinds)
    benchmark_fine_tuning.add(kinds)
    command = kinds.add_parser(
        "build",
        help="building a network, beside one of keras.applications",
        description="Times how long it takes to build a network and to draw its weights, beside "
        "one of keras.applications, interleaved; and for each layer.",
    )
    command.add_argument("model", help="name of a network, such as resnet200")
    add_root(command, default="16")
    command.add_argument(
        "--reference",
        default="ResNet152V2",
        metavar="NAME",
        help="a network of keras.applications (default: %(default)s)",
    )
    command.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="how often each is built"
    )
    command.set_defaults(run=_build)
    command = kinds.add_parser(
        "input",
        help="the input pipeline of a training, beside decoding alone",
        description="Times how many photographs a second the input pipeline makes batches of, "
        "with the paper's augmentation and the full one, beside decoding the same files whole "
        "and decoding the same crops; on all cores, in turns.",
    )
    command.add_argument("folder", help="photographs, in it or below: *.jpg, *.jpeg")
    command.add_argument("--image-size", type=int, default=224, metavar="PIXELS")
    command.add_argument("--batch-size", type=int, default=32, metavar="N")
    command.add_argument(
        "--rand-augment",
        type=int,
        default=0,
        metavar="N",
        help="operations of RandAugment for an image, on top (default: none)",
    )
    command.add_argument(
        "--images", type=int, default=2000, metavar="N", help="of a turn (default: %(default)s)"
    )
    command.add_argument("--rounds", type=int, default=10, metavar="N", help="turns of each")
    add_format(command)
    command.set_defaults(run=_input)
    command = kinds.add_parser(
        "inference",
        help="latency of networks in LiteRT: stock conversion, and ours",
        description="Exports a network of random weights with several filter groups, as stock "
        "Keras and TensorFlow convert it and as keras_roots does, and times all files of one "
        "precision and number of threads in turns. Beside them stands the proportional bound: "
        "the latency of our dense network, each grouped layer's dense time divided by its groups.",
    )
    command.add_argument("model", help="name of a network, such as resnet50")
    add_root(command, None, "may be repeated (default: 16 and 64)", action="append")
    add_set(command)
    _add_precision(command)
    command.add_argument(
        "--threads", type=int, action="append", metavar="N", help="may be repeated (default: 1)"
    )
    command.add_argument(
        "--lowering",
        action="append",
        choices=("native", "auto", "tuned"),
        help="as of export; may be repeated, and the last is the one that is compared with the "
        "bound (default: native and auto)",
    )
    command.add_argument(
        "--runtime",
        action="append",
        default=[],
        choices=("openvino", "onnxruntime"),
        help="time root-1, -16 and -64 there as well, in float32; may be repeated",
    )
    command.add_argument(
        "--calibration",
        metavar="DIR",
        help="folder of photographs to calibrate int8 with, normalised as ImageNet's (default: "
        "random ones)",
    )
    command.add_argument(
        "--rounds", type=int, default=15, metavar="N", help="turns of each, of three inferences"
    )
    add_format(command)
    command.add_argument("-o", "--output", metavar="FILE", help="write all of it as CSV as well")
    command.set_defaults(run=_inference)
    command = kinds.add_parser(
        "plot",
        help="a picture of what `benchmark inference` or `benchmark steps` wrote with -o",
        description="Draws time over multiply-accumulates, both relative to the stock dense "
        "network.",
    )
    command.add_argument(
        "file", nargs="+", help="CSV files of one network that one of the two wrote"
    )
    command.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="a .png, .pdf or .svg"
    )
    command.set_defaults(run=_plot)
    command = kinds.add_parser(
        "simplifications",
        help="what each step of the exporter brings",
        description="Times a network of random weights in LiteRT as stock Keras and TensorFlow "
        "convert it, and as keras_roots does after each of its simplifications, in turns.",
    )
    command.add_argument("model", help="name of a network, such as resnet50")
    add_root(command, default="16")
    command.add_argument(
        "--precision", choices=("float32", "int8"), default="float32", help="(default: %(default)s)"
    )
    command.add_argument("--threads", type=int, default=1, metavar="N")
    command.add_argument(
        "--rounds", type=int, default=15, metavar="N", help="turns of each, of three inferences"
    )
    add_format(command)
    command.set_defaults(run=_simplifications)
    command = kinds.add_parser(
        "operators",
        help="where the time of a TFLite file goes",
        description="Times each distinct operator of a TFLite file alone, cut out of it, and the "
        "file itself, in turns.",
    )
    command.add_argument("file", help="a TFLite file, whoever made it")
    command.add_argument("--threads", type=int, default=1, metavar="N")
    command.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="turns of each, of three runs"
    )
    add_format(command)
    command.set_defaults(run=_operators)


def _add_precision(command) -> None:
    command.add_argument(
        "--precision",
        action="append",
        choices=("float32", "int8"),
        help="may be repeated (default: both)",
    )


def _build(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark.building import building
    from keras_roots.reporting import Table, numbers
    from keras_roots.timing.measure import conditions, describe

    results = building(
        arguments.model,
        arguments.root,
        reference=arguments.reference,
        rounds=arguments.rounds,
        report=to_stderr,
    )
    rows = []
    for name, (layers, timings) in results.items():
        median, *ends = (timings.percentile(p) for p in (50, 10, 90))
        seconds = f"{median:.2f} ({numbers.interval(ends)})"
        rows.append((name, str(layers), seconds, f"{1e3 * median / layers:.2f}"))
    spread = "building, s: median (10th to 90th percentile)"
    print(Table(("network", "layers", spread, "ms a layer"), rows).markdown())
    ours, theirs = (timings.median / layers for layers, timings in results.values())
    print(f"\nA layer takes {ours / theirs:.2f} of the reference's time.")
    print(f"\n{describe(conditions(rounds=arguments.rounds))}")
    return 0


def _inference(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import inference
    from keras_roots.cli.models import check_factory_options
    from keras_roots.export import calibration
    from keras_roots.models import build
    from keras_roots.reporting import numbers
    from keras_roots.timing.measure import conditions, describe

    require_outputs(arguments.output)
    options = dict(arguments.set)
    check_factory_options(arguments.model, options)
    images = None
    if arguments.calibration is not None:
        calibration.require_images(arguments.calibration)
        shape = build(arguments.model, root=1, **options).input_shape[1:]
        images = calibration.load_images(arguments.calibration, shape, 32, "torch")
    runs = inference.inference(
        arguments.model,
        arguments.root or [16, 64],
        options=options,
        precisions=arguments.precision or ["float32", "int8"],
        threads=arguments.threads or [1],
        lowerings=arguments.lowering or ["native", "auto"],
        other_runtimes=arguments.runtime,
        calibration=images,
        rounds=arguments.rounds,
        report=to_stderr,
    )
    record = conditions(**options, batch=1, rounds=arguments.rounds)
    heading = "### " if arguments.format == "markdown" else ""
    for run in runs:
        if arguments.format != "csv":
            threads = numbers.counted(run.threads, "thread")
            print(f"{heading}{run.network}, {run.precision}, {threads}\n")
        print(formatted(inference.table(run), arguments.format))
        if arguments.format != "csv":
            print(f"\nA large matrix product: {run.macs_per_second / 1e9:.1f} G MACs/s\n")
    if arguments.format != "csv":
        print(describe(record))
    if arguments.output is not None:
        inference.write_csv(arguments.output, runs, record)
        to_stderr(f"keras-roots: the figures are in {arguments.output}")
    return 0


def _input(arguments: argparse.Namespace) -> int:
    import os

    from keras_roots.benchmark.input import input_speed, table
    from keras_roots.timing.measure import conditions
    from keras_roots.training import Config

    size = arguments.image_size
    config = Config(
        image_size=size,
        resize=round(size * 256 / 224),
        batch_size=arguments.batch_size,
        rand_augment=arguments.rand_augment,
    )
    timings = input_speed(
        arguments.folder,
        config,
        count=arguments.images,
        rounds=arguments.rounds,
        report=to_stderr,
    )
    cores = os.cpu_count() or 1
    record = conditions(
        image_size=size,
        batch_size=arguments.batch_size,
        rand_augment=arguments.rand_augment,
        images=arguments.images,
        rounds=arguments.rounds,
    )
    print_table(table(timings, cores), arguments.format, record)
    return 0


def _simplifications(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import simplifications
    from keras_roots.models import build
    from keras_roots.timing.measure import conditions

    timings = simplifications.simplifications(
        build(arguments.model, root=arguments.root),
        precision=arguments.precision,
        threads=arguments.threads,
        rounds=arguments.rounds,
        report=to_stderr,
    )
    record = conditions(
        network=f"{arguments.model} {arguments.root}",
        precision=arguments.precision,
        threads=arguments.threads,
        rounds=arguments.rounds,
    )
    print_table(simplifications.table(timings), arguments.format, record)
    return 0


def _operators(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark.operators import profile
    from keras_roots.timing.measure import conditions

    found = profile(arguments.file, threads=arguments.threads, rounds=arguments.rounds)
    record = conditions(threads=arguments.threads, rounds=arguments.rounds)
    print_table(found.table(), arguments.format, record)
    return 0


def _plot(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import relative_plot

    require_outputs(plot=arguments.output)
    rows = [row for file in arguments.file for row in relative_plot.read(file)]
    relative_plot.plot(arguments.output, rows)
    to_stderr(f"keras-roots: the plot is in {arguments.output}")
    return 0
