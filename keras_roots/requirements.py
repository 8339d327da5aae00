"""What needs TensorFlow as Keras's backend, or an extra, says so before it starts."""

import importlib.util
from collections.abc import Mapping

import keras


def require_tensorflow(what: str) -> None:
    """Raises a ValueError unless Keras runs on TensorFlow."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"{what} needs Keras on TensorFlow. Received: the {backend} backend. "
            "Set KERAS_BACKEND=tensorflow."
        )


def require_tensorflow_or_jax(what: str) -> None:
    """Raises a ValueError unless Keras runs on one of these."""
    backend = keras.backend.backend()
    if backend not in ("tensorflow", "jax"):
        raise ValueError(
            f"{what} needs Keras on TensorFlow or JAX. Received: the {backend} backend. "
            "Set KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax."
        )


def tensorflow_errors() -> tuple[type[Exception], ...]:
    """The errors of TensorFlow's operations, to catch; none where Keras does not run on it."""
    if keras.backend.backend() != "tensorflow":
        return ()
    import tensorflow as tf

    return (tf.errors.OpError,)


def require_extras(what: str, modules: Mapping[str, str]) -> None:
    """Raises a ModuleNotFoundError that says what to install.

    Args:
        what: what needs them.
        modules: the extra that brings each module, by the module's name.
    """
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        extras = ",".join(sorted({modules[module] for module in missing}))
        raise ModuleNotFoundError(
            f"{what} needs {', '.join(missing)}. Install the extras: "
            f"pip install 'keras_roots[{extras}]'"
        )
