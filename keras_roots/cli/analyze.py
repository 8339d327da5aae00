"""`keras-roots analyze`: what filter groups do to the responses of a network's layers."""

import argparse
from pathlib import Path

from keras_roots.cli.options import (
    add_batch_size,
    add_format,
    add_image_size,
    add_labelled_images,
    add_preprocessing,
    add_resize,
    formatted,
    name_unread,
    to_stderr,
)


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
    add_labelled_images(command)
    command.add_argument(
        "--images",
        type=int,
        default=2000,
        metavar="N",
        help="at most so many, drawn evenly over the split; 0 for all (default: %(default)s)",
    )
    add_preprocessing(command, "none")
    add_resize(command)
    add_image_size(command)
    add_batch_size(command)
    command.add_argument(
        "--pair",
        action="append",
        type=_pair,
        metavar="A,B",
        help="covariance between the outputs of these layers (a/b is b in a nested model); may be "
        "repeated (default: for each spatial convolution with filter groups, or if there are none "
        "that could have, what it reads and it)",
    )
    command.add_argument(
        "--layer",
        action="append",
        metavar="NAME",
        help="correlation within this layer's output; may be repeated (default: the second of each "
        "pair)",
    )
    command.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder for figures and tables"
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace the files of an earlier run"
    )
    command.add_argument(
        "--figures",
        choices=("png", "pdf", "svg"),
        default="png",
        help="format of the figures (default: %(default)s)",
    )
    add_format(command)
    command.set_defaults(run=_analyze)


def _pair(text: str) -> tuple[str, str]:
    names = text.split(",")
    if len(names) != 2 or not all(names):
        raise argparse.ArgumentTypeError(f"expected two layers, A,B; received {text!r}")
    return names[0], names[1]


def _analyze(arguments: argparse.Namespace) -> int:
    from keras_roots import analysis
    from keras_roots.analysis import folder
    from keras_roots.analysis.results import correlation_table, covariance_table
    from keras_roots.reporting import refuse_contents, require_writable, results_folder
    from keras_roots.requirements import require_extras
    from keras_roots.timing.measure import conditions

    if arguments.images < 0:
        raise ValueError(f"Expected --images of 0 or more. Received: {arguments.images}")
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
    tables = [t for t in (covariance_table(analyses), correlation_table(analyses)) if t.rows]
    if arguments.format == "csv":  # Which is one table.
        tables = tables[:1]
    print("\n\n".join(formatted(table, arguments.format) for table in tables))
    return 0


def _prepared(arguments: argparse.Namespace):
    """For each network its name, its plan, and the images, of which there are enough."""
    from keras_roots import analysis
    from keras_roots.cli.models import load
    from keras_roots.data import Images

    paths = [arguments.model] + ([arguments.beside] if arguments.beside else [])
    for path in paths:
        if not path.endswith(".keras"):
            raise ValueError(f"Expected a .keras file, as model.save writes. Received: {path!r}")
    for name, path in zip(_short_names(paths), paths, strict=True):
        model = load(path)
        size = _image_size(model, arguments.image_size)
        planned = analysis.plan(
            model, pairs=arguments.pair, layers=arguments.layer, image_shape=(size, size, 3)
        )
        images = Images(
            arguments.data,
            size,
            data_dir=arguments.data_dir,
            split=arguments.split,
            resize=arguments.resize,
            batch_size=arguments.batch_size,
            images=arguments.images or None,
            preprocessing=arguments.preprocessing,
        )
        planned.require(images.size)
        yield name, planned, images


def _image_size(model, wanted: int | None) -> int:
    """The height and width of the square images of three colours that a model takes."""
    inputs = getattr(model, "inputs", None) or []
    shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
    if wanted is not None and wanted < 1:
        raise ValueError(f"Expected --image-size of 1 or more. Received: {wanted}")
    if len(shapes) != 1 or len(shapes[0]) != 3:
        raise ValueError(
            f"Expected a model with one image as its input. '{model.name}' has inputs of "
            f"{', '.join(map(str, shapes)) or 'unknown shapes'}"
        )
    height, width, channels = shapes[0]
    if wanted is not None and not {height, width} <= {None, wanted}:
        raise ValueError(f"'{model.name}' takes images of {shapes[0]} only: omit --image-size")
    size = height or width or wanted
    if size is None:
        raise ValueError(f"'{model.name}' leaves its image size open: give --image-size")
    if not {height, width} <= {None, size} or channels != 3:
        raise ValueError(
            f"Expected a model of square images of three colours, (size, size, 3). '{model.name}' "
            f"takes {shapes[0]}; keras_roots.analysis.analyze takes any arrays."
        )
    return size


def _short_names(paths: list[str]) -> list[str]:
    """The folder and the stem of each, "nin/model"; no two alike."""
    names: list[str] = []
    for path in map(Path, paths):
        parent = "" if path.parent.name == ".." else path.parent.name
        name = f"{parent}/{path.stem}" if parent else path.stem
        names.append(f"{name} ({len(names) + 1})" if name in names else name)
    return names
