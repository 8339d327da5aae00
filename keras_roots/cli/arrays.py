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
    command.add_argument(
        "--data-dir", metavar="DIR", help="where tensorflow-datasets keeps its data sets"
    )
    command.add_argument(
        "--examples", type=int, metavar="N", help="only the first N to train on (default: all)"
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace the folder if there is one"
    )
    command.set_defaults(run=_arrays)


def _arrays(arguments: argparse.Namespace) -> int:
    from keras_roots import data
    from keras_roots.data import arrays
    from keras_roots.reporting import refuse_existing

    if not arguments.overwrite:
        refuse_existing(arguments.output)
    if arguments.examples is not None and arguments.examples < 1:
        raise ValueError(f"Expected --examples of 1 or more. Received: {arguments.examples}")
    images = data.load(arguments.dataset, arguments.data_dir)
    if arguments.examples is not None:
        images = images.take(arguments.examples)
    folder = arrays.write(arguments.output, images)
    files = sorted(path for path in folder.iterdir())
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(
        f"{folder}: {len(images.train_images):,} images to train on, "
        f"{len(images.test_images):,} to test on, {len(images.class_names)} classes; "
        f"{len(files)} files, {megabytes:,.1f} MB"
    )
    return 0
