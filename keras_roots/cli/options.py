"""Options that several commands share, and what they mean."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from keras_roots import topology

_UNREAD_NAMED = 10
_ROOT_HELP = (
    "filter groups: R for root-R (1 is dense), column-R, tree-R, or degrees level by level, such "
    "as 16,8,4,2"
)


def add_root(command, default: str | None, note: str = "(default: %(default)s)", **more) -> None:
    command.add_argument(
        "--root", type=root, default=default, metavar="R", help=f"{_ROOT_HELP}; {note}", **more
    )


def root(text: str) -> topology.Topology:
    """A topology from the command line."""
    try:
        return topology.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _option(text: str) -> tuple[str, object]:
    """NAME=VALUE from the command line, where true and false are what they say."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE; received {text!r}")
    return name, {"true": True, "false": False}.get(value.lower(), value)


def add_image_size(command) -> None:
    command.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="height and width (default: the network's; a file that leaves them open needs it)",
    )


def add_image_size_and_classes(command) -> None:
    add_image_size(command)
    command.add_argument(
        "--classes", type=int, metavar="N", help="number of classes (default: the network's)"
    )


def add_set(command) -> None:
    command.add_argument(
        "--set",
        action="append",
        default=[],
        type=_option,
        metavar="NAME=VALUE",
        help="an option of the network's factory, such as geometry=deep-roots or "
        "stride_in_1x1=false; may be repeated",
    )


def add_preprocessing(command, default: str | None, note: str = "%(default)s") -> None:
    command.add_argument(
        "--preprocessing",
        choices=("none", "torch", "caffe", "tf"),
        default=default,
        help="what the model was trained with: none, values of 0 to 255; or as "
        f"keras.applications.imagenet_utils.preprocess_input has it (default: {note})",
    )


def add_classifier(command, *, tflite: bool = True) -> None:
    """A model's file, and how images are brought to what it takes."""
    of_tflite = ", or that `keras-roots export` wrote, model.tflite" if tflite else ""
    command.add_argument("model", help=f"a file that model.save wrote, model.keras{of_tflite}")
    said = "what a TFLite file says, else " if tflite else ""
    add_preprocessing(command, None, f"{said}none")
    add_resize(command, said)
    add_image_size(command)


def add_resize(command, said: str = "") -> None:
    """How images are brought to a size; `said` is what comes before the default."""
    command.add_argument(
        "--resize",
        type=int,
        metavar="PIXELS",
        help=f"shorter side of an image before the crop (default: {said}256/224 of the image size, "
        "which is 256 for 224; the image size itself below 64)",
    )


def add_labelled_images(command) -> None:
    """What a classifier is evaluated on."""
    command.add_argument(
        "--data",
        required=True,
        metavar="DIR_OR_NAME",
        help="folder of <class>/*.JPEG, or of a split with such folders, or of keras-roots arrays; "
        "digits; or the name of a data set that tensorflow-datasets has prepared, such as "
        "imagenet2012 or cifar10",
    )
    command.add_argument(
        "--data-dir",
        metavar="DIR",
        help="folder where tensorflow-datasets keeps it (default: its own)",
    )
    command.add_argument(
        "--split",
        metavar="NAME",
        help="of the data (default: the first of validation, val and test that exists)",
    )


def add_batch_size(command) -> None:
    command.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="images at a time (default: %(default)s)",
    )


def add_format(command) -> None:
    command.add_argument(
        "--format",
        choices=("text", "markdown", "csv"),
        default="text",
        help="of the tables (default: %(default)s)",
    )


def formatted(table, name: str) -> str:
    return getattr(table, name)().rstrip("\n")


def print_table(table, name: str, conditions: Mapping[str, object]) -> None:
    """A measured table; the conditions below it, but not in CSV, which is one table."""
    from keras_roots.timing import describe

    print(formatted(table, name))
    if name != "csv":
        print(f"\n{describe(conditions)}")


def to_stderr(line: str) -> None:
    """Progress, and where files are: what is no result."""
    print(line, file=sys.stderr)


def name_unread(images: Sequence[str]) -> None:
    """Says which images were left out, the first of them by name."""
    if images:
        to_stderr(f"images that cannot be read and are left out: {len(images)}")
        for name in images[:_UNREAD_NAMED]:
            to_stderr(f"  {name}")
        if len(images) > _UNREAD_NAMED:
            to_stderr(f"  and {len(images) - _UNREAD_NAMED:,} more")


def require_outputs(*paths: str | None, plot: str | None = None) -> None:
    """Raises an error, before the work, if a file that is asked for cannot be written there."""
    from keras_roots.reporting import figures, require_place

    for path in filter(None, paths):
        require_place(path)
    if plot is not None:
        figures.require_plot(plot)
