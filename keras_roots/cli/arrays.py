"""`keras-roots arrays`: a data set as `.npy` files, for machines without tensorflow-datasets."""

import argparse
from pathlib import Path


def add(commands) -> None:
    command = commands.add_parser(
        "arrays",
        help="write a data set as .npy files, to train on without tensorflow-datasets",
        description="Writes a data set as a folder of .npy files (images as uint8, labels), which "
        "need nothing but NumPy to be read: the training programs take it as --dataset=arrays "
        "--data_dir=OUTPUT, on Keras's TensorFlow and JAX backends.",
    )
    command.add_argument(
        "dataset",
        metavar="DATASET",
        help="digits, or cifar10 as tensorflow-datasets has prepared it",
    )
    command.add_argument("output", type=Path, metavar="OUTPUT", help="the folder to write")
    command.option("--data-dir", "DIR", "where tensorflow-datasets keeps its data sets")
    command.number("--examples", None, "only the first N to train on (default: all)", least=1)
    command.flag("--overwrite", "replace the folder if there is one")
    command.set_defaults(run=_arrays)


def _arrays(arguments: argparse.Namespace) -> None:
    from keras_roots import data
    from keras_roots.data import arrays
    from keras_roots.reporting import refuse_existing

    if not arguments.overwrite:
        refuse_existing(arguments.output)
    images = data.load(arguments.dataset, arguments.data_dir)
    if arguments.examples is not None:
        images = images.take(arguments.examples)
    folder = arrays.write(arguments.output, images)
    sizes = [path.stat().st_size for path in folder.iterdir()]
    print(
        f"{folder}: {len(images.train_images):,} images to train on, "
        f"{len(images.test_images):,} to test on, {len(images.class_names)} classes; "
        f"{len(sizes)} files, {sum(sizes) / 1e6:,.1f} MB"
    )
