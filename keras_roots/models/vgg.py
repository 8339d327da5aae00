"""VGG, dense and with filter groups.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for
Large-Scale Image Recognition", arXiv:1409.1556: configurations A, B, D and E.
Ioannou et al., arXiv:1605.06489, draw the root topology on a VGG-style
network (Figure 2), and publish no figures for one; the degrees by block are
ours. No 1x1 convolution mixes the groups: the next 3x3, of half the degree,
does.

Layer names are those of keras.applications, and weights can be exchanged with
it (`keras_roots.transfer_weights`); unlike there, and as in the paper, dropout
follows the first two dense layers.
"""

import functools

import keras

from keras_roots.layers import convolution
from keras_roots.models.application import Network, dense_classifier, factory

_BLOCK_FILTERS = (64, 128, 256, 512, 512)


def _features(x, groups, convolutions):
    # Where the first block's only convolution is the one on the image, it is no level.
    groups = groups if len(groups) == len(convolutions) else (1, *groups)
    blocks = zip(_BLOCK_FILTERS, convolutions, groups, strict=True)
    for block, (filters, count, g) in enumerate(blocks, start=1):
        for place in range(1, count + 1):
            on_image = block == place == 1
            x = convolution(
                filters,
                3,
                groups=1 if on_image else g,
                padding="same",
                activation="relu",
                name=f"block{block}_conv{place}",
            )(x)
        x = keras.layers.MaxPooling2D(2, strides=2, name=f"block{block}_pool")(x)
    return x


def _top(x, classes: int, activation):
    return dense_classifier(x, ("fc1", "fc2"), classes, activation)


def _network(name: str, title: str, convolutions: tuple[int, ...]) -> Network:
    blocks = list(enumerate(zip(_BLOCK_FILTERS, convolutions, strict=True), start=1))
    return Network(
        name=name,
        title=title,
        about=f"{' + '.join(map(str, convolutions))} convolutions 3x3, and three dense layers.",
        features=functools.partial(_features, convolutions=convolutions),
        top=_top,
        levels=tuple(
            f"block {block}, {filters} filters"
            for block, (filters, count) in blocks
            if block > 1 or count > 1
        ),
        endpoints={
            **{f"C{block - 1}": f"block{block}_conv{count}" for block, (_, count) in blocks},
            "C5": "block5_pool",
        },
        root=16,
        any_size=lambda **_: False,
    )


NETWORKS = (
    _network("vgg11", "VGG-11", (1, 1, 2, 2, 2)),
    _network("vgg13", "VGG-13", (2, 2, 2, 2, 2)),
    _network("vgg16", "VGG-16", (2, 2, 3, 3, 3)),
    _network("vgg19", "VGG-19", (2, 2, 4, 4, 4)),
)
_BY_NAME = {network.name: network for network in NETWORKS}

RootVGG11 = factory("RootVGG11", _BY_NAME["vgg11"], __name__)
RootVGG13 = factory("RootVGG13", _BY_NAME["vgg13"], __name__)
RootVGG16 = factory("RootVGG16", _BY_NAME["vgg16"], __name__)
RootVGG19 = factory("RootVGG19", _BY_NAME["vgg19"], __name__)
