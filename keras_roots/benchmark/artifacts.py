"""What each runtime of `benchmark networks` is given, made of a Keras model and verified."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_roots.benchmark.candidates import Candidate
from keras_roots.benchmark.measured import random_images, require_one_of
from keras_roots.benchmark.records import Session
from keras_roots.export import export_savedmodel, export_tflite
from keras_roots.export.artifact import ON_GPU, check
from keras_roots.export.convert import CALIBRATED, PRECISIONS
from keras_roots.requirements import require_extras, require_tensorflow

# The library in which each looks for a GPU; LiteRT is on the CPU here.
RUNTIMES: dict[str, str | None] = {
    "litert": None,
    "tensorflow": "tensorflow",
    "xla": "tensorflow",
    "jax": "jax",
}
AS_IT_IS = "as it is"
# Verified are the outputs of so many; a batch repeats them.
_IMAGES = 2


def precisions(runtime: str) -> tuple[str, ...]:
    """Those that it runs."""
    return PRECISIONS if runtime == "litert" else ("float32",)


def require_runtime(runtime: str, *, of_models: bool = True) -> None:
    """Raises unless it is known, and what it needs is there.

    Args:
        of_models: whether artifacts are to be made of Keras models for it.
    """
    require_one_of("runtime", runtime, RUNTIMES)
    what = f"The runtime {runtime}"
    if runtime == "jax":
        require_extras(what, {"jax": "xla"})
    elif of_models:
        require_tensorflow(what)
    if runtime == "litert":
        require_extras(what, {"ai_edge_litert": "litert"})


@dataclasses.dataclass(frozen=True)
class Artifact:
    """A file or folder for a runtime.

    Attributes:
        path: of it.
        images: a .npy file of images, [images, height, width, channels].
        expected: Keras's outputs of these; None of a file that was given.
    """

    path: str
    images: str
    expected: np.ndarray | None


class Artifacts:
    """Makes each artifact when it is asked for, once.

    Args:
        folder: of the files.
        calibration: images of each input shape, for precisions of integers.
        report: takes lines of progress.
    """

    def __init__(
        self,
        folder: Path,
        calibration: Callable[[tuple[int, ...]], np.ndarray],
        report: Callable[[str], object],
    ):
        self._folder, self._calibration, self._report = folder, calibration, report
        self._made: dict[tuple, Artifact] = {}

    def get(self, candidate: Candidate, session: Session) -> Artifact:
        """Of a candidate, for a session.

        Raises:
            ValueError, RuntimeError: it cannot be made, or differs from Keras.
        """
        key = (
            *(candidate.network, candidate.topology, session.runtime, session.device),
            *(session.precision, session.batch if session.runtime == "litert" else None),
        )
        if key not in self._made:
            self._made[key] = self._make(candidate, session, len(self._made))
        return self._made[key]

    def _make(self, candidate: Candidate, session: Session, number: int) -> Artifact:
        images = self._folder / f"{number}-images.npy"
        if candidate.make is None:
            np.save(images, random_images(_IMAGES, candidate.input_shape))
            return Artifact(str(candidate.path), str(images), None)
        self._report(
            f"{candidate.network} {candidate.topology}: making what {session.runtime} takes, "
            f"{session.precision}"
        )
        calibrated = session.precision in CALIBRATED
        given = self._calibration(candidate.input_shape) if calibrated else None
        inputs = random_images(_IMAGES, candidate.input_shape) if given is None else given[:_IMAGES]
        np.save(images, inputs)
        model = candidate.make()
        expected = keras.ops.convert_to_numpy(model(inputs, training=False))
        path = self._folder / f"{number}-{_SUFFIXES.get(session.runtime, 'savedmodel')}"
        if session.runtime == "litert":
            export_tflite(
                model,
                path,
                inputs,
                precision=session.precision,  # type: ignore[arg-type]
                calibration=given,
                batch=session.batch,
            )
        elif session.runtime == "jax":
            model.save(path)
        else:
            export_savedmodel(
                model,
                path,
                inputs,
                jit_compile=session.runtime == "xla",
                target=session.device,  # type: ignore[arg-type]
            )
        del model
        keras.backend.clear_session()
        return Artifact(str(path), str(images), expected)


_SUFFIXES = {"litert": "model.tflite", "jax": "model.keras"}


def verify(outputs: np.ndarray, artifact: Artifact, session: Session) -> None:
    """Raises a RuntimeError unless what is about to be timed computes what Keras does.

    Args:
        outputs: of the batch, [batch, ...].
    """
    if artifact.expected is None:
        return
    expected = np.resize(artifact.expected, (session.batch, *artifact.expected.shape[1:]))
    tolerance = ON_GPU if session.device == "gpu" else None
    check([outputs], [expected], session.precision, tolerance)
