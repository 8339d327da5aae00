"""What the folder of a job of compression is of, so that no other goes on in it."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from keras_roots.compression.fine_tuning import FineTuning
from keras_roots.compression.recipe import Recipe
from keras_roots.reporting import write_json
from keras_roots.training.config import Config

_SETTINGS = "compression.json"


def begin(
    folder: Path,
    recipe: Recipe,
    tuning: FineTuning,
    networks: Mapping[str, keras.Model],
    teacher: keras.Model | None,
) -> None:
    """Remembers what the folder is of.

    Raises:
        ValueError: it is of something else.
    """
    settings = {
        "recipe": recipe.as_dict(),
        "fine-tuning": {
            name: value
            for name, value in tuning.config.as_dict().items()
            if not Config.__dataclass_fields__[name].metadata["how_only"]
        },
        "data": tuning.source.fingerprint(),
        "preprocessing": tuning.preprocessing,
        "networks": {name: _digest(model) for name, model in networks.items()},
        "teacher": None if teacher is None else _digest(teacher),
    }
    path = folder / _SETTINGS
    if not path.exists():
        strange = sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
        if strange:
            raise ValueError(
                f"The folder '{folder}' holds other things (such as {strange[0]!r}) and no "
                f"{_SETTINGS} of an earlier job. Give another one."
            )
        write_json(path, settings)
        return
    try:
        there = json.loads(path.read_text(encoding="utf-8"))
        different = [name for name in settings if there[name] != settings[name]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"'{path}' is not of a job of compression: {error}") from None
    if different:
        name = different[0]
        raise ValueError(
            f"The folder '{folder}' belongs to another job, with other settings of: "
            f"{', '.join(different)} ({name}: {there[name]} there, {settings[name]} now). Give "
            "another one, or the same command to go on."
        )


def _digest(model: keras.Model) -> str:
    digest = hashlib.sha256(model.to_json().encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()[:16]
