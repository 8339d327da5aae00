"""tensorflow-model-optimization and tf-keras, imported so that nothing else notices.

tensorflow-model-optimization knows Keras 2 only, which is the package tf-keras
now. Its import sets TF_USE_LEGACY_KERAS in `os.environ`, under which this
process's `tf.keras` (unless it has been used before) and all of its
subprocesses would be Keras 2, too. Here it is imported when it is first
needed, and leaves both as they were.
"""

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

from keras_roots.requirements import require_extras, require_tensorflow

_VARIABLE = "TF_USE_LEGACY_KERAS"


class Legacy(NamedTuple):
    """The two packages."""

    keras: ModuleType
    tfmot: ModuleType


def require(what: str) -> None:
    """Raises unless both packages are installed and Keras runs on TensorFlow; imports neither.

    Raises:
        ValueError: Keras runs on another backend.
        ModuleNotFoundError: the extra "compression" is not installed.
    """
    require_tensorflow(what)
    needed = ("tensorflow_model_optimization", "tf_keras", "distutils")
    require_extras(what, dict.fromkeys(needed, "compression"))


@functools.cache
def libraries() -> Legacy:
    """tf-keras and tensorflow-model-optimization.

    Raises:
        ValueError, ModuleNotFoundError: see `require`.
    """
    require("Compression")
    import tensorflow as tf

    _ = tf.keras.layers  # What it is, is decided at its first use.
    with _environment_kept(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "distutils Version classes", DeprecationWarning)
        warnings.filterwarnings("ignore", category=SyntaxWarning)
        import tensorflow_model_optimization
        import tf_keras
    return Legacy(tf_keras, tensorflow_model_optimization)


@contextlib.contextmanager
def _environment_kept() -> Iterator[None]:
    before = os.environ.get(_VARIABLE)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_VARIABLE, None)
        else:
            os.environ[_VARIABLE] = before


@contextlib.contextmanager
def forgotten() -> Iterator[None]:
    """Gives back, at the end, the memory that tf-keras keeps of models made inside."""
    try:
        yield
    finally:
        libraries().keras.backend.clear_session()
