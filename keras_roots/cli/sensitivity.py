"""`keras-roots sensitivity`: what a model loses when one layer is pruned or quantised."""

import argparse
from collections.abc import Callable

from keras_roots.cli.options import (
    add_classifier,
    name_unread,
    require_outputs,
    show,
    taken,
    to_stderr,
    write,
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
    command.shared("--data", "--data-dir", "--split")
    command.number(
        "--images",
        500,
        "at most so many, drawn evenly over the split and held in memory; 0 for all",
        least=0,
    )
    command.shared("--batch-size")
    command.option(
        "--sparsity",
        "S,...",
        "shares of a kernel's weights that become 0, from 0 to less than 1, or none (default: "
        "0.5,0.75,0.9)",
        type=_list_of(float),
        default=(0.5, 0.75, 0.9),
    )
    command.option(
        "--bits",
        "B,...",
        "of the integers to which weights are rounded, 2 to 8, with a scale for each output "
        "channel, or none (default: 8,4)",
        type=_list_of(int),
        default=(8, 4),
    )
    command.option(
        "--layer",
        "NAME",
        "change this layer (a/b is b in a nested model); may be repeated (default: all "
        "convolutions and Dense layers)",
        action="append",
    )
    command.option("--csv", "FILE", "write a line for each layer and change as well")
    command.option("--plot", "FILE", "write the table as a .png, .pdf or .svg as well")
    command.shared("--format")
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


def _sensitivity(arguments: argparse.Namespace) -> None:
    from keras_roots.classify import Classifier, evaluation
    from keras_roots.cli.models import class_names, load
    from keras_roots.compression import sensitivity
    from keras_roots.compression.sensitivity_results import LEVEL, UNCERTAIN

    require_outputs(arguments.csv, plot=arguments.plot)
    model = load(arguments.model)
    what = {"sparsities": arguments.sparsity, "bits": arguments.bits, "layers": arguments.layer}
    sensitivity.check(model, **what)
    read = evaluation.labelled_images(
        Classifier(model, **taken(arguments, "preprocessing", "image_size")),
        arguments.data,
        **taken(arguments, "data_dir", "split", "resize", "batch_size"),
        images=arguments.images or None,
        class_names=class_names(arguments.model),
    )
    images, labels = read.in_memory(to_stderr)
    name_unread(read.unread)
    found = sensitivity.scan(
        model, images, labels, batch_size=arguments.batch_size, report=to_stderr, **what
    )
    write(arguments.csv, found.write_csv)
    write(arguments.plot, found.plot)
    show(
        arguments,
        f"{arguments.model} on {read.name}: {found.correct:,} of {found.images:,} images right, "
        f"{100 * found.correct / found.images:.2f}%\n"
        f"drop of top-1 accuracy in points when one layer is changed; {UNCERTAIN}: not told from 0 "
        f"(exact McNemar test, p of {LEVEL:g} or more)",
        found.table(),
    )
