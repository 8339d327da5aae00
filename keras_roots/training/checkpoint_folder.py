"""A folder of checkpoints, each written as a whole or not at all."""

import contextlib
import shutil
from pathlib import Path

_PREFIX = "ckpt-"


class CheckpointFolder:
    """A folder of numbered checkpoints, of which some of the last are kept.

    No file is ever written twice. Which ones there are is read from the folder,
    not from TensorFlow's list of them, which may have been lost.

    Args:
        path: the folder; made when it is first written to.
        held: a tf.train.Checkpoint of what is kept.
        keep: how many of the last.
    """

    def __init__(self, path: Path, held, keep: int):
        self.path, self._held, self._keep = path, held, keep

    def save(self) -> None:
        """Writes one more, and removes the oldest beyond `keep`."""
        present = whole_checkpoints(self.path)
        number = max(map(_number, present), default=0) + 1
        try:
            self._held.write(str(self.path / f"{_PREFIX}{number}"))
        except BaseException:
            self._remove(number)
            raise
        for old in [*map(_number, present), number][: -self._keep]:
            self._remove(old)

    def _remove(self, number: int) -> None:
        for file in sorted(self.path.glob(f"{_PREFIX}{number}.*"), reverse=True):  # Index first.
            file.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Removes what a save has left that failed or was killed."""
        if not self.path.is_dir():
            return
        whole = tuple(f"{Path(path).name}." for path in whole_checkpoints(self.path))
        for path in self.path.iterdir():
            if path.name.startswith(_PREFIX) and not path.name.startswith(whole):
                with contextlib.suppress(OSError):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def whole_checkpoints(folder: Path) -> list[str]:
    """The checkpoints in a folder, oldest first; their index is what is written last."""
    found = [str(path.with_suffix("")) for path in folder.glob(f"{_PREFIX}*.index")]
    return sorted((path for path in found if _number(path) > 0), key=_number)


def _number(path: str) -> int:
    text = Path(path).name.removeprefix(_PREFIX)
    return int(text) if text.isdecimal() else 0
