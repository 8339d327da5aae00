"""`keras-roots analyze`: what filter groups do to the responses of a network's layers."""

import argparse
from pathlib import Path

from keras_roots.cli.options import RESIZE, name_unread, show, taken, to_stderr


def add(commands) -> None:
    command = commands.add_parser(
        "analyze",
        help="covariance between layers, correlation within them, filters, as figures",
        description="Finds the filter groups in what the layers of one network respond to images, "
        "or of two side by side: the covariance between whitened responses of two layers, whose "
        "block diagonal is found; the correlation within a layer; the filters on the image, a row "
        "for each group that reads them; and, of two networks, what one saves layer by layer. "
        "Labels are not looked at.",
    )
    command.add_argument("model", help="a file that model.save wrote, model.keras")
    command.add_argument(
        "beside", nargs="?", metavar="model2", help="another, to compare, such as the dense one's"
    )
    command.shared("--data", "--data-dir", "--split")
    command.number(
        "--images", 2000, "at most so many, drawn evenly over the split; 0 for all", least=0
    )
    command.shared("--preprocessing", default="none")
    command.shared("--resize", note=f" (default: {RESIZE})")
    command.shared("--image-size", "--batch-size")
    command.option(
        "--pair",
        "A,B",
        "covariance between the outputs of these layers (a/b is b in a nested model); may be "
        "repeated (default: for each spatial convolution with filter groups, or if there are none "
        "that could have, what it reads and it)",
        action="append",
        type=_pair,
    )
    command.option(
        "--layer",
        "NAME",
        "correlation within this layer's output; may be repeated (default: the second of each "
        "pair)",
        action="append",
    )
    command.option("--output", "DIR", "folder for figures and tables", required=True)
    command.flag("--overwrite", "replace the files of an earlier run")
    command.choice("--figures", ("png", "pdf", "svg"), "format of the figures", default="png")
    command.shared("--format")
    command.set_defaults(run=_analyze)


def _pair(text: str) -> tuple[str, str]:
    names = text.split(",")
    if len(names) != 2 or not all(names):
        raise argparse.ArgumentTypeError(f"expected two layers, A,B; received {text!r}")
    return names[0], names[1]


def _analyze(arguments: argparse.Namespace) -> None:
    from keras_roots import analysis
    from keras_roots.analysis import folder
    from keras_roots.analysis.results import correlation_table, covariance_table
    from keras_roots.reporting import refuse_contents, require_writable, results_folder
    from keras_roots.requirements import require_extras
    from keras_roots.timing import conditions

    refuse_contents(arguments.output, overwrite=arguments.overwrite)
    require_writable(arguments.output)
    require_extras("The figures", {"matplotlib": "plots"})
    # Everything is checked before anything is computed.
    prepared = list(_prepared(arguments))
    output = results_folder(arguments.output, overwrite=arguments.overwrite)
    analyses, costs = [], []
    for name, planned, images in prepared:
        to_stderr(f"{name}: {images.size:,} images of {images.name}")
        analyses.append(
            analysis.run(planned, images, name=name, images=images.size, report=to_stderr)
        )
        name_unread(images.unread)
        for note in analyses[-1].notes():
            to_stderr(f"{name}: {note}")
        if len(prepared) == 2:
            costs.append(folder.named_cost(planned.model, name, planned.image_shape))
    folder.write(
        output,
        analyses,
        costs=costs,
        conditions=conditions(data=prepared[0][2].name),
        suffix=arguments.figures,
        report=to_stderr,
    )
    to_stderr(f"keras-roots: figures, tables and arrays are in {output}")
    tables = (covariance_table(analyses), correlation_table(analyses))
    show(arguments, *(table for table in tables if table.rows))


def _prepared(arguments: argparse.Namespace):
    """For each network its name, its plan, and the images, of which there are enough."""
    from keras_roots import analysis
    from keras_roots.cli.models import image_shape, load
    from keras_roots.data import Images

    paths = [arguments.model] + ([arguments.beside] if arguments.beside else [])
    for name, model in zip(_short_names(paths), [load(path) for path in paths], strict=True):
        shape = image_shape(model, arguments.image_size)
        size = shape[0]
        if shape != (size, size, 3):
            raise ValueError(
                "Expected a model of square images of three colours, (size, size, 3). "
                f"'{model.name}' takes {shape}; keras_roots.analysis.analyze takes any arrays."
            )
        planned = analysis.plan(
            model, pairs=arguments.pair, layers=arguments.layer, image_shape=shape
        )
        images = Images(
            arguments.data,
            size,
            **taken(arguments, "data_dir", "split", "resize", "batch_size", "preprocessing"),
            images=arguments.images or None,
        )
        planned.require(images.size)
        yield name, planned, images


def _short_names(paths: list[str]) -> list[str]:
    """The folder and the stem of each, "nin/model"; no two alike."""
    names: list[str] = []
    for path in map(Path, paths):
        parent = "" if path.parent.name == ".." else path.parent.name
        name = f"{parent}/{path.stem}" if parent else path.stem
        names.append(f"{name} ({len(names) + 1})" if name in names else name)
    return names
