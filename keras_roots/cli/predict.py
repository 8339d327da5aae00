"""`keras-roots predict`: what a model sees in photos."""

import argparse

from keras_roots.cli.options import add_classifier, add_format, formatted, to_stderr


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
    command.add_argument(
        "--top",
        type=int,
        default=5,
        metavar="N",
        help="classes of each photo (default: %(default)s)",
    )
    command.add_argument(
        "--classes",
        metavar="FILE",
        help="names of the classes, one a line (default: the labels in a TFLite file, or "
        "classes.txt beside the model, if there are some)",
    )
    add_format(command)
    command.set_defaults(run=_predict)


def _predict(arguments: argparse.Namespace) -> int:
    from keras_roots.classify.prediction import predict
    from keras_roots.cli.models import class_names_beside, class_names_of, classifier

    if arguments.top < 1:
        raise ValueError(f"Expected --top of 1 or more. Received: {arguments.top}")
    model = classifier(arguments)
    if arguments.classes is None:
        names = model.labels or class_names_beside(arguments.model)
    else:
        names = class_names_of(arguments.classes)
    predictions = predict(model, arguments.photos, resize=arguments.resize, class_names=names)
    if not predictions.are_probabilities:
        to_stderr("the outputs are not probabilities (they do not sum to 1): printing scores")
    print(formatted(predictions.table(arguments.top), arguments.format))
    return 0
