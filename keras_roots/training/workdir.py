"""The work directory of a run: one configuration, one run at a time."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_roots.data import Source
from keras_roots.reporting import write_json, write_text
from keras_roots.training.config import Config, from_file

_CONFIG = "config.json"
_DATA = "data.json"
_CLASSES = "classes.txt"
_BACKEND = "backend"  # In data.json, of another one than TensorFlow.
_WRITTEN = (
    *("config", "data", "classes", "history", "learning-curve", "best", "model", "summary"),
    "unread",
)


def has_begun(workdir: Path) -> bool:
    """Whether it is that of a run."""
    return (workdir / _CONFIG).is_file()


def check(workdir: Path, config: Config, source: Source) -> bool:
    """Whether a run is to go on in it, which then has begun with this configuration and data.

    Raises:
        ValueError: it belongs to another configuration, or other data, with
            the differences; or it holds something else, or is none.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"The work directory '{workdir}' is a file. Give another one.")
    if not has_begun(workdir):
        contents = sorted(path.name for path in workdir.iterdir()) if workdir.is_dir() else []
        # A run that was killed in its first moment may have left the first files of `begin`.
        strange = [n for n in contents if not n.startswith(".") and n not in (_CLASSES, _DATA)]
        if strange:
            raise ValueError(
                f"The work directory '{workdir}' holds other things (such as {strange[0]!r}) and "
                f"no {_CONFIG} of an earlier run. Give another one."
            )
        return False
    there = from_file(workdir / _CONFIG)
    data = _data(workdir)
    backend, before = keras.backend.backend(), data.get(_BACKEND, "tensorflow")
    if before != backend:
        raise ValueError(
            f"The run of the work directory '{workdir}' is of Keras on {before!r}, whose "
            f"checkpoints {backend!r} cannot go on from. Set KERAS_BACKEND={before}, or give "
            "another work directory."
        )
    differences = differences_of(there, config, data, source.fingerprint())
    if differences:
        listed = "; ".join(f"{name}: {values}" for name, values in differences.items())
        raise ValueError(
            f"The work directory '{workdir}' belongs to another run. {listed}. "
            "Give another one, or the same configuration to go on."
        )
    return True


def differences_of(
    there: Config, config: Config, data_there: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, str]:
    """What tells one run's configuration and data from another's, in words, by name.

    Args:
        there, config: both configurations.
        data_there, data: fingerprints of both data; of the second, what is to be compared.
    """
    differences = {
        name: f"{before!r} there, {now!r} now"
        for name, (before, now) in there.differences(config).items()
    }
    return differences | {
        f"data: {name}": f"{data_there.get(name)!r} there, {now!r} now"
        for name, now in data.items()
        if data_there.get(name) != now
    }


def _data(workdir: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((workdir / _DATA).read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"'{workdir / _DATA}' cannot be read: {error}") from None


def begin(workdir: Path, config: Config, source: Source) -> None:
    """Writes the configuration, the data's fingerprint and the class names."""
    data, backend = source.fingerprint(), keras.backend.backend()
    if backend != "tensorflow":
        data[_BACKEND] = backend
    write_text(workdir / _CLASSES, "".join(f"{name}\n" for name in source.class_names))
    write_json(workdir / _DATA, data)
    write_json(workdir / _CONFIG, config.as_dict())  # The last: all are there.


def tidy(workdir: Path) -> None:
    """Removes temporary files of a run that was killed while it wrote."""
    for path in workdir.glob(".*-*"):
        if re.fullmatch(rf"\.({'|'.join(_WRITTEN)})-[0-9a-f]{{8}}\.\w+", path.name):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Refuses a second run in the same directory, as long as the first is alive.

    Raises:
        ValueError: there is one.
    """
    try:
        import fcntl
    except ImportError:  # Not on Windows.
        yield
        return
    with (workdir / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"Another run is at work in '{workdir}'.") from None
        except OSError:  # A file system without locks.
            pass
        yield


def class_names(folder: Path) -> tuple[str, ...] | None:
    """Those of the models in a folder, where they are known."""
    path = folder / _CLASSES
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else None
