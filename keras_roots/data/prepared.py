"""Finding a data set that tensorflow-datasets has prepared on disk.

tfds itself would look for it on the network, for minutes.
"""

import os
import re
from pathlib import Path

from keras_roots.requirements import require_extras


def builder(name: str, data_dir: str | os.PathLike | None = None):
    """The tfds builder of the newest prepared version, all of whose files are there.

    Args:
        name: of the data set, such as "cifar10", or with its configuration,
            "imagenet_resized/64x64".
        data_dir: where tensorflow-datasets keeps its data sets; by default
            where it does so itself (TFDS_DATA_DIR, or tensorflow_datasets in
            the home folder).

    Raises:
        FileNotFoundError: it is not there, or not whole; nothing is downloaded.
        ValueError: what is there cannot be read.
        ModuleNotFoundError: the extra "datasets" is not installed.
    """
    require_extras(f"The data set {name}", {"tensorflow_datasets": "datasets"})
    import tensorflow_datasets as tfds

    root = Path(tfds.core.constants.DATA_DIR if data_dir is None else data_dir).expanduser()
    how = (
        f"Prepare it with `tfds build {name} --data_dir={root}` (from tensorflow-datasets), or "
        f"give the folder that holds {name}/<version>/dataset_info.json as the data folder."
    )
    if not re.fullmatch(r"\w+(/[\w.-]+)?", name):
        raise ValueError(f"Expected the name of a data set, such as cifar10. Received: {name!r}")
    if not root.is_dir():
        raise FileNotFoundError(f"There is no data folder {str(root)!r}. {how}")
    versions = _versions(root / name)
    if not versions and "/" not in name:  # One of several configurations, as imagenette has.
        configurations = sorted(
            path.name for path in (root / name).glob("*") if path.is_dir() and _versions(path)
        )
        if len(configurations) > 1:
            raise ValueError(
                f"{str(root / name)!r} holds several: give one of "
                f"{', '.join(f'{name}/{each}' for each in configurations)}."
            )
        versions = _versions(root / name / configurations[0]) if configurations else {}
    if not versions:
        raise FileNotFoundError(f"The folder {str(root)!r} holds no prepared {name}. {how}")
    folder = versions[max(versions)]
    try:
        found = tfds.builder_from_directory(folder)
    except Exception as error:  # tfds, TensorFlow and protobuf each have their own.
        raise ValueError(
            f"{str(folder)!r} cannot be read as a prepared {name}: {error}. {how}"
        ) from error
    for split in found.info.splits.values():
        for path in map(Path, split.filepaths):
            if not path.is_file():
                raise FileNotFoundError(
                    f"{str(folder)!r} is incomplete: it lacks {path.name}. {how}"
                )
    return found


def _versions(folder: Path) -> dict[tuple[int, ...], Path]:
    return {
        tuple(map(int, path.parent.name.split("."))): path.parent
        for path in folder.glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    }
