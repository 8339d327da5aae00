"""`keras-roots benchmark steps | lowerings | layers | accelerator`: steps, and single layers."""

import argparse
import itertools

from keras_roots.cli.benchmark_options import (
    DATA_FORMATS,
    DEFAULT,
    OF_FILES,
    OF_NETWORKS,
    add_choice,
    add_kind,
    add_model,
    add_number,
    add_output,
    add_rounds,
    given,
    print_measured,
    print_parts,
)
from keras_roots.cli.options import add_format, add_root, add_set, require_outputs, root, to_stderr

_CONTEXTS = ("tensorflow-cpu", "xla-cpu", "accelerator", "litert-float32", "litert-int8")
_KINDS = ("train", "forward")
# Options by the arguments whose combinations they are.
_GRID = {"batches": "batch_size", "dtypes": "precision", "data_formats": "data_format"}


def add(kinds) -> None:
    command = add_kind(
        kinds, "steps", _steps, "train steps or forward passes: stock Keras, and ours"
    )
    add_model(command)
    add_root(command, None, "may be repeated (default: 16)", action="append")
    add_set(command)
    folded = f"{DEFAULT}; of forward passes, 'folded' is keras_roots.export.inference_function"
    add_choice(command, "--kind", _KINDS, folded, "train")
    command.add_argument(
        "--xla", action="store_true", help="compile with XLA, as jit_compile=True does"
    )
    add_number(command, "--image-size", "(default: the network's)")
    add_number(command, "--batch-size", default=8)
    add_choice(command, "--precision", OF_NETWORKS, f"the half ones mixed {DEFAULT}", "float32")
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
    add_rounds(command, "timed steps of each form")
    add_format(command)
    add_output(command)
    command = add_kind(
        kinds,
        "lowerings",
        _lowerings,
        "each pass of each grouped or 1x1 convolution by each of its lowerings",
    )
    _add_networks(command)
    add_choice(
        command,
        "--context",
        _CONTEXTS,
        "may be repeated (default: Keras's that are here); of the litert- ones, of files, forward "
        "passes of one image are timed",
        several=True,
    )
    add_number(command, "--batch-size", "may be repeated (default: 8)", several=True)
    add_choice(command, "--precision", OF_NETWORKS, "may be repeated (float32)", several=True)
    formats = "of the layers; may be repeated (channels_last)"
    add_choice(command, "--data-format", DATA_FORMATS, formats, several=True)
    add_number(command, "--image-size", "may be repeated (default: the network's)", several=True)
    _add_threads_and_output(command)
    command = add_kind(
        kinds,
        "layers",
        _layers,
        "the same in LiteRT: lowerings --context litert-float32 --context litert-int8",
    )
    _add_networks(command)
    add_choice(command, "--precision", OF_FILES, "may be repeated (default: both)", several=True)
    _add_threads_and_output(command)
    command.set_defaults(batch_size=None, data_format=None, image_size=None)
    command = add_kind(
        kinds, "accelerator", _accelerator, "all that says which lowerings a GPU should get; hours"
    )
    add_model(command)
    add_root(command, None, "may be repeated (default: 16 and 64)", action="append")
    add_number(command, "--image-size")
    add_number(command, "--batch-size", "may be repeated (default: 1, 32 and 256)", several=True)
    types = "may be repeated (default: float32, as the device computes it, and bfloat16)"
    add_choice(command, "--precision", OF_NETWORKS, types, several=True)
    both = "may be repeated (default: both)"
    add_choice(command, "--data-format", DATA_FORMATS, both, several=True)
    add_choice(command, "--kind", _KINDS, f"of whole networks' steps; {both}", several=True)
    add_rounds(command, "turns of each")
    command.add_argument("-o", "--output", required=True, metavar="FOLDER")


def _add_networks(command) -> None:
    command.add_argument("model", nargs="+", help="names of networks, such as resnet50")
    add_root(command, None, "may be repeated (default: 16)", action="append")


def _add_threads_and_output(command) -> None:
    add_number(command, "--threads", "of LiteRT", 1)
    add_rounds(command, f"turns of each, of two timed calls, five in LiteRT {DEFAULT}")
    add_format(command)
    add_output(
        command,
        "write the measurements as JSON as well, in the form that lowerings are chosen from",
    )


def _steps(arguments: argparse.Namespace) -> int:
    """Times train steps (SGD with momentum) or forward passes of a network of random weights,
    dense and with several filter groups, of stock Keras layers and of ours, in turns; on Keras's
    backend, TensorFlow or JAX. Beside them stand the ratio of multiply-accumulates, the
    proportional bound (our dense network without its spatial convolutions, and of these the dense
    time divided by the groups), and how much of the rate of a large matrix product each reaches.
    """
    from keras_roots.benchmark import steps
    from keras_roots.benchmark.measured import write_csv
    from keras_roots.cli.models import check_factory_options
    from keras_roots.timing import conditions, describe

    require_outputs(arguments.output)
    options = dict(arguments.set)
    check_factory_options(arguments.model, options)
    stock_roots = arguments.stock_root
    if stock_roots is not None:
        stock_roots = [each for each in stock_roots if each is not None]
    run = steps.steps(
        arguments.model,
        arguments.root or [16],
        options=options,
        stock_roots=stock_roots,
        bound=not arguments.no_bound,
        report=to_stderr,
        **given(
            arguments,
            *("kind", "xla", "image_size", "batch_size", "rounds"),
            dtype="precision",
            lowering_of_all="lowering",
        ),
    )
    record = conditions(rounds=arguments.rounds)
    where = describe({**run.described(), **record})
    print_parts(arguments.format, steps.table(run), *run.notes(), where)
    if arguments.output is not None:
        write_csv(arguments.output, [run], record)
        to_stderr(f"keras-roots: the figures are in {arguments.output}")
    return 0


def _lowerings(arguments: argparse.Namespace) -> int:
    """Times the forward pass and the gradients of every distinct convolution of networks alone, by
    each of its lowerings and beside its dense twin; in turns, on Keras's backend, TensorFlow
    (compiled by XLA and not) or JAX, or in LiteRT. The fastest has an asterisk.
    """
    from keras_roots.benchmark import lowerings
    from keras_roots.models import network

    require_outputs(arguments.output)
    for name in arguments.model:
        network(name)  # Raises if it is unknown.
    results = lowerings.lowerings(
        _built(arguments),
        report=to_stderr,
        **given(arguments, "threads", "rounds", contexts="context", **_GRID),
    )
    print_measured(arguments, lowerings.table(results), "threads", "rounds")
    if arguments.output is not None:
        lowerings.measurements(results).write(arguments.output)
        to_stderr(f"keras-roots: the measurements are in {arguments.output}")
    return 0


def _layers(arguments: argparse.Namespace) -> int:
    """`benchmark lowerings` in LiteRT: times every distinct grouped layer of networks alone, in a
    TFLite file of its own. The fastest lowering has an asterisk: it is what `export --lowering
    tuned` takes.
    """
    precisions, arguments.precision = arguments.precision, None
    arguments.context = [f"litert-{each}" for each in precisions or OF_FILES]
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
    """Times a network's grouped convolutions alone by each lowering, pass by pass, and train steps
    and forward passes of whole networks with the groups as they stand, split and packed; in every
    combination of batch size, type and data format; compiled by XLA, on Keras's backend
    (KERAS_BACKEND=jax where TensorFlow sees no GPU). An interrupted run goes on if given the same
    folder.
    """
    from keras_roots.benchmark import accelerator
    from keras_roots.models import network
    from keras_roots.reporting import results_folder

    network(arguments.model)  # Raises if it is unknown.
    folder = results_folder(arguments.output, overwrite=True)  # What is there is kept.
    for what, path in accelerator.accelerator(
        arguments.model,
        arguments.root or [16, 64],
        folder,
        report=to_stderr,
        **given(arguments, "image_size", "rounds", kinds="kind", **_GRID),
    ):
        print(f"{what}: {path}", flush=True)
    return 0
