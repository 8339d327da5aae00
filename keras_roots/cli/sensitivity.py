"""`keras-roots sensitivity`: what a model loses when one layer is pruned or quantised."""

import argparse
from collections.abc import Callable

from keras_roots.cli.options import (
    add_batch_size,
    add_classifier,
    add_format,
    add_labelled_images,
    formatted,
    name_unread,
    require_outputs,
    to_stderr,
)


def add(commands) -> None:
    command = commands.add_parser(
        "sensitivity",
        help="accuracy lost when one layer is pruned or quantised",
        description="Prints, layer by layer, how many points of top-1 accuracy a model loses when "
        "that layer's kernel alone is pruned by magnitude, or rounded to integers of few bits; "
        "nothing is trained. It takes as many evaluations as there are layers times changes.",
    )
    add_classifier(command, tflite=False)
    add_labelled_images(command)
    command.add_argument(
        "--images",
        type=int,
        default=500,
        metavar="N",
        help="at most so many, drawn evenly over the split and held in memory; 0 for all "
        "(default: %(default)s)",
    )
    add_batch_size(command)
    command.add_argument(
        "--sparsity",
        type=_list_of(float),
        default=(0.5, 0.75, 0.9),
        metavar="S,...",
        help="shares of a kernel's weights that become 0, from 0 to less than 1, or none (default: "
        "0.5,0.75,0.9)",
    )
    command.add_argument(
        "--bits",
        type=_list_of(int),
        default=(8, 4),
        metavar="B,...",
        help="of the integers to which weights are rounded, 2 to 8, with a scale for each output "
        "channel, or none (default: 8,4)",
    )
    command.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="change this layer (a/b is b in a nested model); may be repeated (default: all "
        "convolutions and Dense layers)",
    )
    command.add_argument(
        "--csv", metavar="FILE", help="write a line for each layer and change as well"
    )
    command.add_argument(
        "--plot", metavar="FILE", help="write the table as a .png, .pdf or .svg as well"
    )
    add_format(command)
    command.set_defaults(run=_sensitivity)


def _list_of(kind: Callable) -> Callable[[str], tuple]:
    def parse(text: str) -> tuple:
        if text == "none":
            return ()
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"expected numbers with commas between them, or none; received {text!r}"
            ) from None

    return parse


def _sensitivity(arguments: argparse.Namespace) -> int:
    from keras_roots.classify import evaluation
    from keras_roots.classify.classifier import Classifier
    from keras_roots.cli.models import class_names_beside, load
    from keras_roots.compression import sensitivity
    from keras_roots.compression.sensitivity_results import LEVEL, UNCERTAIN

    if arguments.images < 0:
        raise ValueError(f"Expected --images of 0 or more. Received: {arguments.images}")
    require_outputs(arguments.csv, plot=arguments.plot)
    if not arguments.model.endswith(".keras"):
        raise ValueError(
            f"Expected a .keras file, as model.save writes. Received: {arguments.model!r}"
        )
    model = load(arguments.model)
    what = {"sparsities": arguments.sparsity, "bits": arguments.bits, "layers": arguments.layer}
    sensitivity.check(model, **what)
    read = evaluation.labelled_images(
        Classifier(model, preprocessing=arguments.preprocessing, image_size=arguments.image_size),
        arguments.data,
        data_dir=arguments.data_dir,
        split=arguments.split,
        resize=arguments.resize,
        batch_size=arguments.batch_size,
        images=arguments.images or None,
        class_names=class_names_beside(arguments.model),
    )
    images, labels = read.in_memory(to_stderr)
    name_unread(read.unread)
    found = sensitivity.scan(
        model, images, labels, batch_size=arguments.batch_size, report=to_stderr, **what
    )
    for path, write in ((arguments.csv, found.write_csv), (arguments.plot, found.plot)):
        if path is not None:
            write(path)
            to_stderr(f"keras-roots: the drops by layer are in {path}")
    table = formatted(found.table(), arguments.format)
    if arguments.format == "csv":  # Which is one table.
        print(table)
        return 0
    print(
        f"{arguments.model} on {read.name}: {found.correct:,} of {found.images:,} images right, "
        f"{100 * found.correct / found.images:.2f}%",
        "drop of top-1 accuracy in points when one layer is changed; "
        f"{UNCERTAIN}: not told from 0 (exact McNemar test, p of "
        f"{LEVEL:g} or more)",
        "",
        table,
        sep="\n",
    )
    return 0
