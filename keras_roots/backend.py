"""What needs TensorFlow as Keras's backend says so."""

import keras


def require_tensorflow(what: str) -> None:
    """Raises a ValueError unless Keras runs on TensorFlow."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ValueError(
            f"{what} needs Keras on TensorFlow. Received: the {backend} backend. "
            "Set KERAS_BACKEND=tensorflow."
        )
