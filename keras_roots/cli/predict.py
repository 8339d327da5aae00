"""`keras-roots predict`: what a model sees in photos."""

import argparse

from keras_roots.cli.options import add_classifier, show, to_stderr


def add(commands) -> None:
    command = commands.add_parser(
        "predict",
        help="the classes that a model sees in photos",
        description="Prints the most probable classes of each photo. Each is resized and cropped "
        "at its centre, as its pixels are stored: a camera's note to turn it is not heeded.",
    )
    add_classifier(command)
    command.add_argument(
        "photos", nargs="+", metavar="photo", help="an image file, or a folder of some"
    )
    command.number("--top", 5, "classes of each photo", least=1)
    command.option(
        "--classes",
        "FILE",
        "names of the classes, one a line (default: the labels in a TFLite file, or "
        "classes.txt beside the model, if there are some)",
    )
    command.shared("--format")
    command.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> None:
    from keras_roots.classify import predict
    from keras_roots.cli.models import class_names, classifier

    model = classifier(arguments)
    names = None if arguments.classes else model.labels
    names = names or class_names(arguments.model, arguments.classes)
    predictions = predict(model, arguments.photos, resize=arguments.resize, class_names=names)
    if not predictions.are_probabilities:
        to_stderr("the outputs are not probabilities (they do not sum to 1): printing scores")
    show(arguments, predictions.table(arguments.top))
