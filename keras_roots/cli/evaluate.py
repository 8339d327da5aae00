"""`keras-roots evaluate`: how often a model is right on labelled images."""

import argparse

from keras_roots.cli.options import (
    add_batch_size,
    add_classifier,
    add_format,
    add_labelled_images,
    formatted,
    name_unread,
    to_stderr,
)


def add(commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="accuracy of a model on labelled images",
        description="Prints the top-1 and top-5 accuracy of a model with 95% intervals, its mean "
        "cross-entropy if it gives probabilities, and the accuracy by class. Each image is "
        "resized and cropped at its centre. Images that cannot be read are left out and named.",
    )
    add_classifier(command)
    add_labelled_images(command)
    add_batch_size(command)
    add_format(command)
    command.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> int:
    from keras_roots.classify import evaluation
    from keras_roots.cli.models import class_names_beside, classifier

    model = classifier(arguments)
    found = evaluation.evaluate(
        model,
        arguments.data,
        data_dir=arguments.data_dir,
        split=arguments.split,
        resize=arguments.resize,
        batch_size=arguments.batch_size,
        class_names=model.labels or class_names_beside(arguments.model),
        report=to_stderr,
    )
    name_unread(found.unread)
    if found.cross_entropy is None:
        to_stderr("the outputs are not probabilities (they do not sum to 1): no cross-entropy")
    by_class = formatted(found.by_class(), arguments.format)
    if arguments.format == "csv":  # Which is one table.
        print(by_class)
        return 0
    print(
        f"{arguments.model} on {found.data}: {found.total:,} images of {len(found.class_names):,} "
        f"classes, resized to {found.resize} pixels, of which {found.image_size} are cropped"
    )
    print("", formatted(found.summary(), arguments.format), "", by_class, sep="\n")
    return 0
