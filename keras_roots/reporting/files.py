"""Files that are never left half-written, and folders that are never overwritten unasked."""

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


def require_place(path: str | os.PathLike) -> None:
    """Makes sure that a file can be of this name, before the work that it is for.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
        IsADirectoryError: `path` is a folder.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} to write {path.name!r} in."
        )
    if path.is_dir():
        raise IsADirectoryError(f"There is a folder where a file is to be written: {str(path)!r}.")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path beside `path`, with its suffixes, which then takes its name.

    Whatever is raised inside, `path` stays as it was and nothing else is left.

    Raises:
        FileNotFoundError, IsADirectoryError: see `require_place`.
    """
    require_place(path)
    path = Path(path)
    suffix = "".join(path.suffixes)
    temporary = path.with_name(f".{path.stem}-{secrets.token_hex(4)}{suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a file in UTF-8, its line ends as they are; raises as `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: str | os.PathLike, data: object, *, indent: int = 2) -> None:
    """Writes `data` as JSON; raises as `replacing`."""
    write_text(path, json.dumps(data, indent=indent) + "\n")


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a new folder beside `path` to fill, which then takes its name; as `replacing`.

    Raises:
        FileNotFoundError: the folder that is to hold it does not exist.
        NotADirectoryError: `path` is a file.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(path.parent)!r} to write {path.name!r} in."
        )
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"There is a file where a folder is to be written: {str(path)!r}.")
    temporary, old = (
        path.with_name(f".{path.name}-{secrets.token_hex(4)}{suffix}") for suffix in ("", "-old")
    )
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():  # A folder that holds something cannot be replaced in one step.
            path.rename(old)
        temporary.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


def refuse_existing(path: str | os.PathLike) -> None:
    """Raises a FileExistsError if something of that name is there."""
    if Path(path).exists():
        raise FileExistsError(
            f"There is {str(path)!r} already. Give another name, or overwrite=True to replace it."
        )


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
    refuse_contents(path, overwrite=overwrite)
    with _unwritable_is_a_value_error(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    return path


def require_writable(path: str | os.PathLike) -> None:
    """Raises a ValueError unless the folder could be made and written; makes nothing."""
    path = Path(path)
    existing = next(each for each in (path, *path.absolute().parents) if each.exists())
    with _unwritable_is_a_value_error(path), tempfile.TemporaryFile(dir=existing):
        pass


def refuse_contents(path: str | os.PathLike, *, overwrite: bool = False) -> None:
    """Raises a ValueError if `path` is a folder that holds something; makes nothing."""
    path = Path(path)
    with _unwritable_is_a_value_error(path):
        contents = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    if contents and not overwrite:
        raise ValueError(
            f"The results folder {str(path)!r} is not empty (it holds {contents[0]!r}). Give "
            "another one, or overwrite=True to replace the files of an earlier run."
        )


@contextlib.contextmanager
def _unwritable_is_a_value_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"The results folder {str(path)!r} cannot be written: {error.strerror}. "
            "Give another one."
        ) from error
