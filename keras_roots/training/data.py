"""The data of a run, as far as the backend trains on them."""

import keras

from keras_roots.data import Source, sources
from keras_roots.training.config import Config
from keras_roots.training.on_jax import support


def open_source(config: Config) -> Source:
    """The data of a configuration, checked but for the images themselves.

    Raises:
        FileNotFoundError, ModuleNotFoundError: as `sources.open_source`.
        ValueError: so, too; or Keras runs on JAX and does not train so.
    """
    if keras.backend.backend() != "jax":
        return sources.open_source(config)
    support.check(config)
    support.require_reader(config)
    source = sources.open_source(config, in_memory=True)
    for split in (source.train, source.validation):
        support.check_images(config, split.images)
    return source
