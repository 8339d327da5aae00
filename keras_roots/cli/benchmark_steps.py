"""`keras-roots benchmark steps | lowerings | layers | accelerator`: steps, and single layers."""

import argparse
import itertools

from keras_roots.cli.options import (
    add_format,
    add_root,
    add_set,
    formatted,
    require_outputs,
    root,
    to_stderr,
)

_PRECISIONS = ("float32", "bfloat16", "float16")
_CONTEXTS = ("tensorflow-cpu", "xla-cpu", "accelerator", "litert-float32", "litert-int8")
_DATA_FORMATS = ("channels_last", "channels_first")


def add(kinds) -> None:
    command = kinds.add_parser(
        "steps",
        help="train steps or forward passes: stock Keras, and ours",
        description="Times train steps (SGD with momentum) or forward passes of a network of "
        "random weights, dense and with several filter groups, of stock Keras layers and of "
        "ours, in turns; on Keras's backend, TensorFlow or JAX. Beside them stand the ratio of "
        "multiply-accumulates, the proportional bound (our dense network without its spatial "
        "convolutions, and of these the dense time divided by the groups), and how much of the "
        "rate of a large matrix product each reaches.",
    )
    command.add_argument("model", help="name of a network, such as resnet50")
    add_root(command, None, "may be repeated (default: 16)", action="append")
    add_set(command)
    command.add_argument(
        "--kind",
        choices=("train", "forward"),
        default="train",
        help="(default: %(default)s); of forward passes, 'folded' is "
        "keras_roots.export.inference_function",
    )
    command.add_argument(
        "--xla", action="store_true", help="compile with XLA, as jit_compile=True does"
    )
    command.add_argument(
        "--image-size", type=int, metavar="PIXELS", help="(default: the network's)"
    )
    command.add_argument("--batch-size", type=int, default=8, metavar="N")
    command.add_argument(
        "--precision",
        choices=_PRECISIONS,
        default="float32",
        help="the half ones mixed (default: %(default)s)",
    )
    command.add_argument(
        "--stock-root",
        type=lambda text: None if text == "none" else root(text),
        action="append",
        metavar="R",
        help="time stock Keras for these only, which takes long; none, or as --root (default: all)",
    )
    command.add_argument(
        "--lowering",
        metavar="NAME",
        help="one for every grouped convolution of ours: native, split, packed-4, ... (default: "
        "chosen layer by layer)",
    )
    command.add_argument(
        "--no-bound",
        action="store_true",
        help="do not time what the bound needs (which exists where the grouped convolutions keep "
        "the shape)",
    )
    command.add_argument(
        "--rounds", type=int, default=10, metavar="N", help="timed steps of each form"
    )
    add_format(command)
    command.add_argument("-o", "--output", metavar="FILE", help="write all of it as CSV as well")
    command.set_defaults(run=_steps)
    command = kinds.add_parser(
        "lowerings",
        help="each pass of each grouped or 1x1 convolution by each of its lowerings",
        description="Times the forward pass and the gradients of every distinct convolution of "
        "networks alone, by each of its lowerings and beside its dense twin; in turns, on Keras's "
        "backend, TensorFlow (compiled by XLA and not) or JAX, or in LiteRT. The fastest has an "
        "asterisk.",
    )
    _add_networks(command)
    _add_grid(command)
    command.add_argument(
        "--image-size",
        type=int,
        action="append",
        metavar="PIXELS",
        help="may be repeated (default: the network's)",
    )
    _add_threads_and_output(command)
    command = kinds.add_parser(
        "layers",
        help="the same in LiteRT: lowerings --context litert-float32 --context litert-int8",
        description="`benchmark lowerings` in LiteRT: times every distinct grouped layer of "
        "networks alone, in a TFLite file of its own. The fastest lowering has an asterisk: it is "
        "what `export --lowering tuned` takes.",
    )
    _add_networks(command)
    command.add_argument(
        "--precision",
        action="append",
        choices=("float32", "int8"),
        help="may be repeated (default: both)",
    )
    _add_threads_and_output(command)
    command.set_defaults(run=_layers, batch_size=None, data_format=None, image_size=None)
    command = kinds.add_parser(
        "accelerator",
        help="all that says which lowerings a GPU should get; hours",
        description="Times a network's grouped convolutions alone by each lowering, pass by pass, "
        "and train steps and forward passes of whole networks with the groups as they stand, "
        "split and packed; in every combination of batch size, type and data format; compiled by "
        "XLA, on Keras's backend (KERAS_BACKEND=jax where TensorFlow sees no GPU). An interrupted "
        "run goes on if given the same folder.",
    )
    command.add_argument("model", help="name of a network, such as resnet50")
    add_root(command, None, "may be repeated (default: 16 and 64)", action="append")
    command.add_argument("--image-size", type=int, metavar="PIXELS")
    command.add_argument(
        "--batch-size",
        type=int,
        action="append",
        metavar="N",
        help="may be repeated (default: 1, 32 and 256)",
    )
    command.add_argument(
        "--precision",
        action="append",
        choices=_PRECISIONS,
        help="may be repeated (default: float32, as the device computes it, and bfloat16)",
    )
    command.add_argument(
        "--data-format",
        action="append",
        choices=_DATA_FORMATS,
        help="may be repeated (default: both)",
    )
    command.add_argument(
        "--kind",
        action="append",
        choices=("train", "forward"),
        help="of whole networks' steps; may be repeated (default: both)",
    )
    command.add_argument("--rounds", type=int, default=10, metavar="N", help="turns of each")
    command.add_argument("-o", "--output", required=True, metavar="FOLDER")
    command.set_defaults(run=_accelerator)


def _add_networks(command) -> None:
    command.add_argument("model", nargs="+", help="names of networks, such as resnet50")
    add_root(command, None, "may be repeated (default: 16)", action="append")


def _add_threads_and_output(command) -> None:
    command.add_argument("--threads", type=int, default=1, metavar="N", help="of LiteRT")
    command.add_argument(
        "--rounds",
        type=int,
        default=10,
        metavar="N",
        help="turns of each, of two timed calls, five in LiteRT (default: %(default)s)",
    )
    add_format(command)
    command.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write the measurements as JSON as well, in the form that lowerings are chosen from",
    )
    command.set_defaults(run=_lowerings)


def _add_grid(command) -> None:
    command.add_argument(
        "--context",
        action="append",
        choices=_CONTEXTS,
        help="may be repeated (default: Keras's that are here); of the litert- ones, of files, "
        "forward passes of one image are timed",
    )
    command.add_argument(
        "--batch-size", type=int, action="append", metavar="N", help="may be repeated (default: 8)"
    )
    command.add_argument(
        "--precision", action="append", choices=_PRECISIONS, help="may be repeated (float32)"
    )
    command.add_argument(
        "--data-format",
        action="append",
        choices=_DATA_FORMATS,
        help="of the layers; may be repeated (channels_last)",
    )


def _steps(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import steps
    from keras_roots.cli.models import check_factory_options
    from keras_roots.timing.measure import conditions, describe

    require_outputs(arguments.output)
    options = dict(arguments.set)
    check_factory_options(arguments.model, options)
    stock_roots = arguments.stock_root
    if stock_roots is not None:
        stock_roots = [each for each in stock_roots if each is not None]
    run = steps.steps(
        arguments.model,
        arguments.root or [16],
        kind=arguments.kind,
        xla=arguments.xla,
        options=options,
        image_size=arguments.image_size,
        batch_size=arguments.batch_size,
        dtype=arguments.precision,
        stock_roots=stock_roots,
        lowering_of_all=arguments.lowering,
        bound=not arguments.no_bound,
        rounds=arguments.rounds,
        report=to_stderr,
    )
    record = conditions(rounds=arguments.rounds)
    print(formatted(steps.table(run), arguments.format))
    if arguments.format != "csv":
        without = ", ".join(f"{t * 1e3:.1f} ms ({form})" for form, t in run.without_spatial.items())
        if without:
            print(f"\nDense without spatial convolutions: {without}")
        print(f"\nA large matrix product: {run.macs_per_second / 1e9:.1f} G MACs/s")
        print(f"\n{describe({**steps.describe(run), **record})}")
    if arguments.output is not None:
        steps.write_csv(arguments.output, run, record)
        to_stderr(f"keras-roots: the figures are in {arguments.output}")
    return 0


def _lowerings(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import lowerings
    from keras_roots.models import network
    from keras_roots.timing.measure import conditions, describe

    require_outputs(arguments.output)
    for name in arguments.model:
        network(name)  # Raises if it is unknown.
    results = lowerings.lowerings(
        _built(arguments),
        contexts=arguments.context,
        batches=arguments.batch_size or [8],
        dtypes=arguments.precision or ["float32"],
        data_formats=arguments.data_format or ["channels_last"],
        threads=arguments.threads,
        rounds=arguments.rounds,
        report=to_stderr,
    )
    print(formatted(lowerings.table(results), arguments.format))
    if arguments.format != "csv":
        record = conditions(threads=arguments.threads, rounds=arguments.rounds)
        print(f"\n{describe(record)}")
    if arguments.output is not None:
        lowerings.measurements(results).write(arguments.output)
        to_stderr(f"keras-roots: the measurements are in {arguments.output}")
    return 0


def _layers(arguments: argparse.Namespace) -> int:
    precisions, arguments.precision = arguments.precision, None
    arguments.context = [f"litert-{each}" for each in precisions or ("float32", "int8")]
    return _lowerings(arguments)


def _built(arguments: argparse.Namespace) -> list:
    """The networks with each degree and size; of several, without those that cannot be."""
    from keras_roots.models import build

    models = []
    sizes = [{"input_shape": (size, size, 3)} for size in arguments.image_size or ()]
    for name, each, size in itertools.product(
        arguments.model, arguments.root or [16], sizes or [{}]
    ):
        try:
            models.append(build(name, root=each, **size))
        except ValueError as error:  # A degree that it has not the channels for.
            if len(arguments.model) == 1:
                raise
            to_stderr(f"{name} without {each}: {error}")
    return models


def _accelerator(arguments: argparse.Namespace) -> int:
    from keras_roots.benchmark import accelerator
    from keras_roots.models import network
    from keras_roots.reporting import results_folder

    network(arguments.model)  # Raises if it is unknown.
    folder = results_folder(arguments.output, overwrite=True)  # What is there is kept.
    for what, path in accelerator.accelerator(
        arguments.model,
        arguments.root or [16, 64],
        folder,
        batches=arguments.batch_size or (1, 32, 256),
        dtypes=arguments.precision or ("float32", "bfloat16"),
        data_formats=arguments.data_format or _DATA_FORMATS,
        kinds=arguments.kind or ("train", "forward"),
        image_size=arguments.image_size,
        rounds=arguments.rounds,
        report=to_stderr,
    ):
        print(f"{what}: {path}", flush=True)
    return 0
