"""The networks of the paper, by name."""

import difflib

import keras

from keras_roots.models import alexnet, googlenet, nin, resnet, vgg
from keras_roots.models.alexnet import RootAlexNet
from keras_roots.models.application import Factory, Network, shape_of_size
from keras_roots.models.googlenet import RootGoogLeNet
from keras_roots.models.nin import RootNIN, RootNINImageNet
from keras_roots.models.resnet import (
    RootResNet50,
    RootResNet50V2,
    RootResNet101,
    RootResNet101V2,
    RootResNet152,
    RootResNet152V2,
    RootResNet200,
)
from keras_roots.models.vgg import RootVGG11, RootVGG13, RootVGG16, RootVGG19

_FACTORIES: dict[str, Factory] = {
    "alexnet": RootAlexNet,
    "googlenet": RootGoogLeNet,
    "nin": RootNIN,
    "nin_imagenet": RootNINImageNet,
    "resnet50": RootResNet50,
    "resnet50v2": RootResNet50V2,
    "resnet101": RootResNet101,
    "resnet101v2": RootResNet101V2,
    "resnet152": RootResNet152,
    "resnet152v2": RootResNet152V2,
    "resnet200": RootResNet200,
    "vgg11": RootVGG11,
    "vgg13": RootVGG13,
    "vgg16": RootVGG16,
    "vgg19": RootVGG19,
}
_NETWORKS: dict[str, Network] = {
    network.name: network
    for family in (alexnet, googlenet, nin, resnet, vgg)
    for network in family.NETWORKS
}


def list_models() -> list[str]:
    """The names that `build` knows."""
    return list(_FACTORIES)


def build(model: str, **kwargs) -> keras.Model:
    """Builds the named network.

    Args:
        model: one of `list_models()`.
        **kwargs: the arguments of its factory, `root` among them.

    Raises:
        ValueError: the name is unknown, or an argument is wrong.
    """
    return _FACTORIES[_known(model)](**kwargs)


def endpoints(model: str) -> dict[str, str]:
    """Names of the layers at which the resolutions of a network end, finest first.

    `Ck` has an output stride of 2 to the power of k, so that "C2" to "C5" are
    what detectors and feature pyramids take:

        names = keras_roots.endpoints("resnet50")
        backbone = keras_roots.RootResNet50(root=16, include_top=False)
        outputs = {key: backbone.get_layer(name).output for key, name in names.items()}
        pyramid = keras.Model(backbone.inputs, outputs)

    Args:
        model: one of `list_models()`.

    Raises:
        ValueError: the name is unknown.
    """
    return dict(_NETWORKS[_known(model)].endpoints)


def network(model: str) -> Network:
    """The named network's row: its title, sizes, levels and options.

    Raises:
        ValueError: the name is unknown.
    """
    return _NETWORKS[_known(model)]


def _known(model: str) -> str:
    if isinstance(model, str) and model in _FACTORIES:
        return model
    near = difflib.get_close_matches(str(model).lower(), _FACTORIES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"Unknown model {model!r}.{hint} Expected one of: {', '.join(list_models())}"
    ) from None


__all__ = [
    "RootAlexNet",
    "RootGoogLeNet",
    "RootNIN",
    "RootNINImageNet",
    "RootResNet50",
    "RootResNet50V2",
    "RootResNet101",
    "RootResNet101V2",
    "RootResNet152",
    "RootResNet152V2",
    "RootResNet200",
    "RootVGG11",
    "RootVGG13",
    "RootVGG16",
    "RootVGG19",
    "build",
    "endpoints",
    "list_models",
    "network",
    "shape_of_size",
]
