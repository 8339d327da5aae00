"""Fine-tuning without any compression: what more training alone does."""

from collections.abc import Callable
from pathlib import Path

import keras

from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.fine_tuning import FineTuning, fine_tune
from keras_roots.compression.legacy import forgotten, require
from keras_roots.reporting import silent


def tune(
    model: keras.Model,
    tuning: FineTuning,
    *,
    folder: Path | None = None,
    report: Callable[[str], object] = silent,
) -> keras.Model:
    """Fine-tunes a network, as `pruning.prune` does but without pruning.

    Args:
        model, tuning, folder, report: as of `pruning.prune`.

    Returns:
        A copy of the model with these weights.

    Raises:
        ValueError, ModuleNotFoundError, DivergedError, Interrupted: as of
            `pruning.prune`.
    """
    require("Fine-tuning")
    tuning.check_fits(model)
    with forgotten():
        bridge = to_legacy(model, scores=True)
        fine_tune(bridge.legacy, tuning, title="Fine-tuning", folder=folder, report=report)
        return bridge.back()
