"""`keras-roots evaluate`: how often a model is right on labelled images."""

import argparse

from keras_roots.cli.options import add_classifier, name_unread, show, taken, to_stderr


def add(commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="accuracy of a model on labelled images",
        description="Prints the top-1 and top-5 accuracy of a model with 95% intervals, its mean "
        "cross-entropy if it gives probabilities, and the accuracy by class. Each image is "
        "resized and cropped at its centre. Images that cannot be read are left out and named.",
    )
    add_classifier(command)
    command.shared("--data", "--data-dir", "--split", "--batch-size", "--format")
    command.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from keras_roots.classify import evaluation
    from keras_roots.cli.models import class_names, classifier

    model = classifier(arguments)
    found = evaluation.evaluate(
        model,
        arguments.data,
        **taken(arguments, "data_dir", "split", "resize", "batch_size"),
        class_names=model.labels or class_names(arguments.model),
        report=to_stderr,
    )
    name_unread(found.unread)
    if found.cross_entropy is None:
        to_stderr("the outputs are not probabilities (they do not sum to 1): no cross-entropy")
    show(
        arguments,
        f"{arguments.model} on {found.data}: {found.total:,} images of {len(found.class_names):,} "
        f"classes, resized to {found.resize} pixels, of which {found.image_size} are cropped",
        found.summary(),
        found.by_class(),
        csv=found.by_class(),
    )
