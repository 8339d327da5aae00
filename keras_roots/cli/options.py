"""How commands declare their options, which of these they share, and how they answer."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_roots import topology

_UNREAD_NAMED = 10


class Parser(argparse.ArgumentParser):
    """One whose mistakes are one line, as all of this program's are.

    It says the default of an option, unless the help does so itself.
    """

    def error(self, message):
        self.exit(2, f"keras-roots: {message} (see `{self.prog} --help`)\n")

    def option(self, name: str, metavar: str | None, text: str, **more) -> None:
        """An option with a value; `more` goes to `add_argument`."""
        names = ("-o", name) if name == "--output" else (name,)
        if more.get("default") not in (None, []) and "default: " not in text:
            text += " (default: %(default)s)"
        self.add_argument(*names, metavar=metavar, help=text, **more)

    def number(
        self, name: str, default: int | None, text: str, *, least: int | None = None, **more
    ) -> None:
        """An option that is an integer, of `least` or more."""
        kind = int if least is None else at_least(least)
        self.option(name, "N", text, type=kind, default=default, **more)

    def choice(self, name: str, choices: Sequence[str], text: str, **more) -> None:
        """An option that is one of several words."""
        self.option(name, None, text, choices=choices, **more)

    def flag(self, name: str, text: str) -> None:
        """An option without a value, which is True if it is given."""
        self.add_argument(name, action="store_true", help=text)

    def shared(self, *names: str, note: str | None = None, **more) -> None:
        """Options that several commands have; `note` goes on with their help."""
        for name in names:
            metavar, text, given = _SHARED[name]
            self.option(name, metavar, text + (note or ""), **{**given, **more})


def at_least(least: int) -> Callable[[str], int]:
    """The integers that an option takes."""

    def integer(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"expected {least} or more; received {text}")
        return int(text)

    return integer


def root(text: str) -> topology.Topology:
    """A topology from the command line."""
    try:
        return topology.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _setting(text: str) -> tuple[str, object]:
    """NAME=VALUE from the command line, where true and false are what they say."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE; received {text!r}")
    return name, {"true": True, "false": False}.get(value.lower(), value)


# By their names: a metavar, the help, and what else `add_argument` takes.
_SHARED: dict[str, tuple[str | None, str, dict[str, Any]]] = {
    "--root": (
        "R",
        "filter groups: R for root-R (1 is dense), column-R, tree-R, or degrees level by level, "
        "such as 16,8,4,2",
        {"type": root},
    ),
    "--image-size": (
        "PIXELS",
        "height and width (default: the network's; a file that leaves them open needs it)",
        {"type": at_least(1)},
    ),
    "--classes": ("N", "number of classes (default: the network's)", {"type": int}),
    "--set": (
        "NAME=VALUE",
        "an option of the network's factory, such as geometry=deep-roots or stride_in_1x1=false; "
        "may be repeated",
        {"type": _setting, "action": "append", "default": []},
    ),
    "--data": (
        "DIR_OR_NAME",
        "folder of <class>/*.JPEG, or of a split with such folders, or of keras-roots arrays; "
        "digits; or the name of a data set that tensorflow-datasets has prepared, such as "
        "imagenet2012 or cifar10",
        {"required": True},
    ),
    "--data-dir": ("DIR", "folder where tensorflow-datasets keeps it (default: its own)", {}),
    "--split": (
        "NAME",
        "of the data (default: the first of validation, val and test that exists)",
        {},
    ),
    "--preprocessing": (
        None,
        "what the model was trained with: none, values of 0 to 255; or as "
        "keras.applications.imagenet_utils.preprocess_input has it",
        {"choices": ("none", "torch", "caffe", "tf")},
    ),
    "--resize": ("PIXELS", "shorter side of an image before the crop", {"type": int}),
    "--batch-size": ("N", "images at a time", {"type": int, "default": 32}),
    "--format": (
        None,
        "of the tables",
        {"choices": ("text", "markdown", "csv"), "default": "text"},
    ),
}
RESIZE = "256/224 of the image size, which is 256 for 224; the image size itself below 64"


def add_root(command, default: str | None, note: str | None = None, **more) -> None:
    command.shared("--root", default=default, note=note and f"; {note}", **more)


def add_set(command) -> None:
    command.shared("--set")


def add_format(command) -> None:
    command.shared("--format")


def add_model(command) -> None:
    """A network by name, or one of a file."""
    command.add_argument(
        "model",
        help="name of a network, such as resnet50, or a file that model.save wrote: model.keras",
    )


def add_classifier(command, *, tflite: bool = True) -> None:
    """A model's file, and how images are brought to what it takes."""
    of_tflite = ", or that `keras-roots export` wrote, model.tflite" if tflite else ""
    said = "what a TFLite file says, else " if tflite else ""
    command.add_argument("model", help=f"a file that model.save wrote, model.keras{of_tflite}")
    command.shared("--preprocessing", note=f" (default: {said}none)")
    command.shared("--resize", note=f" (default: {said}{RESIZE})")
    command.shared("--image-size")


def taken(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those arguments that a function of the library takes by the same names."""
    return {name: getattr(arguments, name) for name in names}


def formatted(table, name: str) -> str:
    return getattr(table, name)().rstrip("\n")


def show(arguments: argparse.Namespace, *parts, csv=None) -> None:
    """Prints tables, and what is said of them, with empty lines between.

    In CSV, which is one table, it is the first of them only; or `csv`, a table or its text.
    """
    if arguments.format == "csv":
        tables = tuple(part for part in parts if not isinstance(part, str))
        parts = tables[:1] if csv is None else (csv,)
    texts = (each if isinstance(each, str) else formatted(each, arguments.format) for each in parts)
    print("\n\n".join(text.rstrip("\n") for text in texts))


def heading(arguments: argparse.Namespace, text: str) -> str:
    """The heading of a table, one of what `show` takes."""
    return f"### {text}" if arguments.format == "markdown" else text


def print_table(table, name: str, conditions: Mapping[str, object]) -> None:
    """A measured table; the conditions below it."""
    from keras_roots.timing import describe

    show(argparse.Namespace(format=name), table, describe(conditions))


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


def write(path: str | None, writer: Callable[..., object], *what) -> None:
    """Writes `what` to a file if one is asked for, and says so."""
    if path is not None:
        writer(path, *what)
        to_stderr(f"keras-roots: written: {path}")
