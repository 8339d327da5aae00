"""The networks of the paper, by name."""

import difflib
from collections.abc import Callable

import keras

from keras_roots.models.nin import RootNIN
from keras_roots.models.resnet import RootResNet50

_FACTORIES: dict[str, Callable[..., keras.Model]] = {
    "nin": RootNIN,
    "resnet50": RootResNet50,
}


def list_models() -> list[str]:
    """The names that `build` knows."""
    return sorted(_FACTORIES)


def build(model: str, **kwargs) -> keras.Model:
    """Builds the named network.

    Args:
        model: one of `list_models()`.
        **kwargs: the arguments of its factory, `root` among them.

    Raises:
        ValueError: the name is unknown, or an argument is wrong.
    """
    try:
        factory = _FACTORIES[model]
    except KeyError:
        near = difflib.get_close_matches(str(model).lower(), _FACTORIES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"Unknown model {model!r}.{hint} Expected one of: {', '.join(list_models())}"
        ) from None
    return factory(**kwargs)
