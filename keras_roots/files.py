"""Files that are never left half-written, and folders that are never overwritten unasked."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path beside `path`, with its suffixes, which then takes its name.

    Whatever is raised inside, `path` stays as it was and nothing else is left.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
        OSError: it cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} to write {path.name!r} in."
        )
    descriptor, name = tempfile.mkstemp(
        prefix=f".{path.stem}-", suffix="".join(path.suffixes), dir=path.parent
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())  # mkstemp's files are for their owner alone.
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def results_folder(path: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """Makes sure of an empty folder for results, before the work that produces them.

    Args:
        path: made with its parents if it does not exist.
        overwrite: accept one that is not empty; files of the same names will
            be replaced, others stay.

    Raises:
        ValueError: it is a file, cannot be written, or is not empty.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        contents = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise ValueError(
            f"The results folder {str(path)!r} cannot be written: {error.strerror}. "
            "Give another one."
        ) from error
    if contents and not overwrite:
        raise ValueError(
            f"The results folder {str(path)!r} is not empty (it holds {contents[0]!r}). Give "
            "another one, or --overwrite to replace the files of an earlier run."
        )
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
