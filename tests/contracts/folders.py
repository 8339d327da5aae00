"""What commands and runs leave on disk: names of files, columns and keys, as lines of text.

`python -m tests.contracts.folders` writes files/folders.txt; names of `MAKERS` do some
only.
"""

import csv
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

import keras_roots.training
from keras_roots.cli import main
from tests.contracts import frozen, make_files
from tests.contracts.frozen import FILES

FILE = "folders.txt"
# Their keys are what is installed, or the names of what was found on a machine.
_OPEN = ("conditions", "milliseconds", "operators", "versions")
_MODEL = str(FILES / make_files.MODEL)


def run(folder: Path) -> None:
    """A work directory of `keras_roots.training`, in the folder of the files."""
    keras_roots.training.train_and_evaluate(make_files.config(), folder, report=lambda _: None)


def analyze(folder: Path) -> None:
    _done("analyze", _MODEL, "--data", str(_photos(folder)), "-o", str(folder / "found"))


def tables(folder: Path) -> None:
    """Files of commands that need no folder of their own."""
    _done("plan", "nin", "--budget", "macs=0.6", "--csv", str(folder / "plan.csv"))
    of_model = ("sensitivity", _MODEL, "--data", str(_photos(folder)), "--images", "2")
    _done(*of_model, "--layer", "split", "--csv", str(folder / "sensitivity.csv"))


def demo(folder: Path) -> None:
    _done("demo", "--epochs", "1", "--examples", "64", "-o", str(folder / "results"))


def compress(folder: Path) -> None:
    how = ("--prune", "0.5", "--cluster", "4", "--qat", "--epochs", "1", "--batch-size", "4")
    given = (_MODEL, "--data", str(_photos(folder)), "--rounds", "2")
    _done("compress", *given, *how, "-o", str(folder / "compressed"))


def benchmarks(folder: Path) -> None:
    of_networks = ("--rounds", "6", "--per-turn", "2", "--precision", "float32")
    files = ("-o", str(folder / "networks.json"), "--csv", str(folder / "networks.csv"))
    _done("benchmark", "networks", _MODEL, *of_networks, *files)
    short = ("--root", "8", "--rounds", "1", "-o")
    _done("benchmark", "layers", "nin", *short, str(folder / "layers.json"))
    _done("benchmark", "inference", "nin", *short, str(folder / "inference.csv"))
    steps = ("--batch-size", "1", "--stock-root", "none", "--no-bound")
    _done("benchmark", "steps", "nin", *steps, *short, str(folder / "steps.csv"))


MAKERS: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (run, analyze, tables, demo, compress, benchmarks)
}


def lines(name: str) -> list[str]:
    """A line for each file that one of `MAKERS` leaves, sorted; run in the folder of the files."""
    with tempfile.TemporaryDirectory() as folder:
        MAKERS[name](Path(folder))
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        found = [
            f"{name}: {_name(path.relative_to(folder))}{_content(path)}"
            for path in paths
            if "photos" not in path.parts
        ]
    return sorted(found)


def keys(value, prefix: str = "") -> Iterator[str]:
    """The keys in what was read from JSON, dotted."""
    if isinstance(value, list):
        for each in value:
            yield from keys(each, prefix)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield f"{prefix}{key}"
            if key not in _OPEN:
                yield from keys(each, f"{prefix}{key}.")


def _photos(folder: Path) -> Path:
    """Some digits as class folders of a split."""
    images, labels = (
        np.load(FILES / make_files.DATA / f"train_{kind}.npy") for kind in ("images", "labels")
    )
    for split in ("train", "val"):
        for number, image in enumerate(images):
            path = folder / "photos" / split / f"class-{labels[number] % 4}" / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            keras.utils.save_img(path, image, scale=False)
    return folder / "photos"


def _done(*arguments: str) -> None:
    assert main(arguments) == 0, arguments


def _name(path: Path) -> str:
    return re.sub(r"events\.out\.tfevents\..*", "events.out.tfevents.*", str(path))


def _content(path: Path) -> str:
    """Columns, but for those of the machine and what is installed, or keys of a file."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            columns = next(csv.reader(file))
        own = columns[: columns.index("processor")] if "processor" in columns else columns
        return " has " + ", ".join(own)
    if path.suffix == ".json":
        return " has " + ", ".join(sorted(set(keys(json.loads(path.read_text("utf-8"))))))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return " has " + ", ".join(f"{name}:{arrays[name].ndim}" for name in sorted(arrays))
    return ""


def _written() -> list[str]:
    """The frozen lines with those of the names that were asked for made anew."""
    path, names = FILES / FILE, sys.argv[1:] or list(MAKERS)
    old = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept = [line for line in old if line.partition(":")[0] not in names]
    return sorted(kept + [line for name in names for line in lines(name)])


if __name__ == "__main__":
    os.chdir(FILES)
    frozen.write(FILE, _written)
