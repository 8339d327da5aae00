"""`keras-roots compress`: pruning, clustering and quantisation-aware training."""

import argparse
import signal
from pathlib import Path

from keras_roots.cli.options import add_format, add_preprocessing, formatted, to_stderr

_OF_A_RUN = ("model", "best")
_INTERRUPTED, _PREEMPTED = 130, 75


def add(commands) -> None:
    command = commands.add_parser(
        "compress",
        help="prune, cluster and quantise a trained network, and compare what comes out",
        description="Fine-tunes a trained network while its weights are pruned, clustered and "
        "rounded as int8 does; writes a TFLite file of each, verified, and a table and a picture "
        "of their accuracy, size (raw and gzip), non-zero weights, values and latency, beside "
        "those of the network as it was. Interrupted, the same command goes on.",
        epilog="Exit codes: 0 done, 1 the training diverged or a file is not what it should be, 2 "
        "a mistake in the arguments or in what they name, 75 interrupted by SIGTERM with the state "
        "written, 130 the same by Ctrl-C.",
    )
    command.add_argument(
        "model",
        nargs="+",
        metavar="MODEL",
        help="a file that model.save wrote, or NAME=FILE for a name of its own in the table; "
        "several are compressed alike",
    )
    command.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder for the results"
    )
    _add_ways(command)
    _add_data(command)
    command.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="MODEL",
        help="a network to set beside these, of which files are made as it is; may be repeated",
    )
    command.add_argument(
        "--threads", type=int, default=1, metavar="N", help="of the latencies (default: 1)"
    )
    command.add_argument(
        "--rounds",
        type=int,
        default=40,
        metavar="N",
        help="of the latencies: five inferences of each file in turn (default: %(default)s)",
    )
    add_format(command)
    command.set_defaults(run=_compress)


def _add_ways(command) -> None:
    command.add_argument(
        "--prune",
        type=float,
        metavar="SPARSITY",
        help="share of each kernel's weights that become 0, the smallest",
    )
    command.add_argument(
        "--schedule",
        choices=("polynomial", "constant", "2:4"),
        default="polynomial",
        help="of pruning. polynomial: more and more; constant: all at once; 2:4: of each 4 weights "
        "of neighbouring input channels 2 (default: %(default)s)",
    )
    command.add_argument(
        "--cluster", type=int, metavar="N", help="number of values that a kernel's weights have"
    )
    command.add_argument(
        "--qat",
        action="store_true",
        help="train with the rounding of int8, too, which keeps zeros and values",
    )
    command.add_argument(
        "--every-combination",
        action="store_true",
        help="each of these ways by itself and with the others, and the same fine-tuning without "
        "any, to see what it alone does",
    )
    command.add_argument(
        "--teacher",
        metavar="FILE",
        help="a network, such as the dense one, whose answers are learned first (distillation)",
    )
    command.add_argument(
        "--skip",
        action="append",
        metavar="LAYER",
        help="leave this layer unpruned and unclustered; may be repeated; none: leave none out "
        "(default: the first convolution and the classifier)",
    )


def _add_data(command) -> None:
    command.add_argument(
        "--data",
        metavar="DIR_OR_NAME",
        help="folder of train/<class>/*.JPEG and val/<class>/*.JPEG, or of keras-roots arrays; "
        "digits; or the name of a data set that tensorflow-datasets has prepared (default: that of "
        "the configuration)",
    )
    command.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder where tensorflow-datasets keeps it (default: its own)",
    )
    command.add_argument(
        "--config",
        metavar="FILE",
        help="the configuration of the training, a .json file: data, augmentation, batch size "
        "(default: config.json beside MODEL, where a training of ours has left it)",
    )
    command.add_argument(
        "--epochs",
        type=int,
        default=2,
        metavar="N",
        help="of each fine-tuning, passes over the training images (default: %(default)s)",
    )
    command.add_argument(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="at first; it falls to 0 by a cosine (default: a tenth of the configuration's)",
    )
    command.add_argument(
        "--batch-size", type=int, metavar="N", help="images of an update (default: as before)"
    )
    command.add_argument(
        "--images",
        type=int,
        default=0,
        metavar="N",
        help="count accuracies on so many held-out images, which are held in memory; 0: all of "
        "them (default: %(default)s)",
    )
    add_preprocessing(command, "none")


def _compress(arguments: argparse.Namespace) -> int:
    from keras_roots.classify import evaluation
    from keras_roots.classify.classifier import Classifier
    from keras_roots.cli.models import load
    from keras_roots.compression import job, legacy
    from keras_roots.compression.fine_tuning import FineTuning
    from keras_roots.compression.recipe import Recipe
    from keras_roots.reporting import require_writable
    from keras_roots.training.loop import Interrupted

    legacy.require("Compression")
    recipe = Recipe(
        sparsity=arguments.prune,
        schedule=arguments.schedule,
        clusters=arguments.cluster,
        qat=arguments.qat,
        every=arguments.every_combination,
        skip=_skipped(arguments.skip),
    )
    for option, least in (("threads", 1), ("rounds", 1), ("epochs", 1), ("images", 0)):
        if getattr(arguments, option) < least:
            raise ValueError(
                f"Expected --{option} of {least} or more. Received: {getattr(arguments, option)}"
            )
    require_writable(arguments.output)
    paths = {**_named(arguments.model), **_named(arguments.beside, arguments.model)}
    networks = {name: load(path) for name, path in paths.items()}
    teacher = load(arguments.teacher) if arguments.teacher else None
    first = next(iter(networks.values()))
    config = _config(arguments, next(iter(paths.values())), first)
    tuning = FineTuning.of(
        config,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        preprocessing=arguments.preprocessing,
    )
    source = tuning.source
    held_out = evaluation.labelled_images(
        Classifier(first, preprocessing=arguments.preprocessing),
        source,
        resize=config.resize,
        images=arguments.images or None,
    )
    images, labels = held_out.in_memory(to_stderr)
    compressed = list(_named(arguments.model))
    # Of a folder, what tells it from others; tables and pictures are shown to others.
    of_folder = f"{Path(source.name).name}/{source.validation.name}"
    data = of_folder if config.dataset == "folders" else held_out.name
    try:
        results = job.compress(
            {name: networks[name] for name in compressed},
            tuning,
            job.HeldOut(data, images, labels),
            arguments.output,
            recipe,
            beside={name: m for name, m in networks.items() if name not in compressed},
            teacher=teacher,
            threads=arguments.threads,
            rounds=arguments.rounds,
            report=to_stderr,
        )
    except Interrupted as interrupted:
        to_stderr(f"keras-roots: {interrupted}")
        return _PREEMPTED if interrupted.signal == signal.SIGTERM else _INTERRUPTED
    print(formatted(results.table(), arguments.format))
    if arguments.format != "csv":
        print("", results.caption(), sep="\n")
    to_stderr(f"keras-roots: the files, the table and its picture are in {arguments.output}")
    return 0


def _skipped(names: list[str] | None):
    from keras_roots.compression.selection import DEFAULT

    if names is None:
        return DEFAULT
    return () if names == ["none"] else tuple(names)


def _named(given: list[str], others: list[str] | None = None) -> dict[str, str]:
    """The files by names: those that are given, or else their own or their folders'."""
    found: dict[str, str] = dict.fromkeys(_named(others), "") if others else {}
    fresh: dict[str, str] = {}
    for text in given:
        name, separator, path = text.partition("=")
        if not separator or "/" in name:
            path = text
            stem = Path(path).stem
            name = Path(path).absolute().parent.name if stem in _OF_A_RUN else stem
        if name in fresh or name in found:
            raise ValueError(
                f"Two networks would be called {name!r} in the table. Give names: NAME=FILE"
            )
        fresh[name] = path
    return fresh


def _config(arguments: argparse.Namespace, path: str, model):
    """The configuration of the training, or one for these data."""
    from keras_roots.data import default_resize, sources
    from keras_roots.training.config import Config, from_file, replaced

    beside = Path(path).with_name("config.json")
    size = model.inputs[0].shape[1] if model.inputs else None
    if arguments.config is not None:
        config = from_file(arguments.config)
    elif beside.is_file():
        config = from_file(beside)
    elif arguments.data is None:
        raise ValueError(
            f"There is no configuration '{beside}' that says the data: give --data, or --config"
        )
    else:
        size = size or 224
        config = Config(
            image_size=size,
            resize=default_resize(size),
            batch_size=32,
            base_batch_size=32,
        )
    values: dict[str, object] = {}
    if arguments.data is not None:
        values["dataset"], values["data_dir"] = sources.named(arguments.data, arguments.data_dir)
    elif arguments.data_dir is not None:
        values["data_dir"] = arguments.data_dir
    if arguments.batch_size is not None:
        values |= {"batch_size": arguments.batch_size, "base_batch_size": arguments.batch_size}
    return replaced(config, values)
