"""ResNets of bottleneck blocks, dense and with filter groups.

Sources: He et al., "Deep Residual Learning for Image Recognition",
arXiv:1512.03385 (the original form: ResNet-50, -101, -152), and "Identity
Mappings in Deep Residual Networks", arXiv:1603.05027 (pre-activation:
ResNet-200, and the same three), as in the authors' fb.resnet.torch. Groups as
in Ioannou et al., arXiv:1605.06489, Table 2.

Layer names are those of keras.applications. Of the original form, weights can
be exchanged with it (`keras_roots.transfer_weights`); unlike there, and as in
the authors' files, a convolution that batch normalisation follows has no
bias, except the first. The pre-activation form is not the one of
keras.applications, whose strides are at the end of a stage: here they are at
its beginning, batch normalisation follows the first convolution, and the
first block does not normalise again.

Deviation: the classifier is drawn by Keras's default (Glorot); the paper's
initialiser is for what a ReLU follows.
"""

import functools

import keras

from keras_roots.layers import batch_normalization, convolution, root_module
from keras_roots.models.application import Network, Option, factory

_STAGE_FILTERS = (64, 128, 256, 512)
_EXPANSION = 4
_STRIDE_OPTION = Option(
    True,
    "whether a stage's stride is in the first 1x1 convolution of its first block, as the paper "
    "has it. False is torchvision's placement, in the 3x3, which is called v1.5.",
)


def _features(x, groups, blocks, stride_in_1x1: bool):
    return _stages(
        _stem(x), groups, blocks, functools.partial(_bottleneck, stride_in_1x1=stride_in_1x1)
    )


def _preactivated_features(x, groups, blocks):
    x = _stages(_stem(x, use_bias=False), groups, blocks, _preactivated_bottleneck)
    return _normalized_relu(x, "post")


def _stem(x, use_bias: bool = True):
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = convolution(64, 7, strides=2, use_bias=use_bias, name="conv1_conv")(x)
    x = _normalized_relu(x, "conv1")
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)


def _stages(x, groups, blocks, bottleneck):
    stages = zip(_STAGE_FILTERS, blocks, groups, strict=True)
    for stage, (filters, count, g) in enumerate(stages, start=2):
        for block in range(1, count + 1):
            first = block == 1
            x = bottleneck(
                x,
                filters,
                groups=g,
                strides=2 if first and stage > 2 else 1,
                projection=first,
                name=f"conv{stage}_block{block}",
            )
    return x


def _bottleneck(
    x, filters: int, *, groups: int, strides: int, projection: bool, name: str, stride_in_1x1: bool
):
    shortcut = x
    if projection:
        shortcut = _pointwise(x, _EXPANSION * filters, f"{name}_0", strides)
        shortcut = batch_normalization(f"{name}_0_bn")(shortcut)
    x = _pointwise(x, filters, f"{name}_1", strides if stride_in_1x1 else 1)
    x = _normalized_relu(x, f"{name}_1")
    x = _spatial(x, filters, groups, 1 if stride_in_1x1 else strides, name)
    x = batch_normalization(f"{name}_3_bn")(x)
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.Activation("relu", name=f"{name}_out")(x)


def _preactivated_bottleneck(
    x, filters: int, *, groups: int, strides: int, projection: bool, name: str
):
    shortcut = x
    # The stem ends with a ReLU, and the first block after it takes that.
    if name != "conv2_block1":
        x = _normalized_relu(x, f"{name}_preact")
    if projection:
        shortcut = _pointwise(x, _EXPANSION * filters, f"{name}_0", strides)
    x = _pointwise(x, filters, f"{name}_1", 1)
    x = _normalized_relu(x, f"{name}_1")
    x = _spatial(x, filters, groups, strides, name)
    return keras.layers.Add(name=f"{name}_out")([shortcut, x])


def _spatial(x, filters: int, groups: int, strides: int, name: str):
    if strides > 1:  # As Caffe and Torch pad; "same" would pad at the end only.
        x = keras.layers.ZeroPadding2D(1, name=f"{name}_2_pad")(x)
    return root_module(
        filters,
        3,
        groups=groups,
        strides=strides,
        padding="same" if strides == 1 else "valid",
        pointwise_filters=_EXPANSION * filters,
        use_bias=False,
        name=f"{name}_2",
        pointwise_name=f"{name}_3",
    )(x)


def _pointwise(x, filters: int, name: str, strides: int):
    return convolution(filters, 1, strides=strides, use_bias=False, name=f"{name}_conv")(x)


def _normalized_relu(x, name: str):
    x = batch_normalization(f"{name}_bn")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _top(x, classes: int, activation, **_):
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    return keras.layers.Dense(classes, activation=activation, name="predictions")(x)


def _network(name: str, title: str, blocks: tuple[int, ...], *, preactivated: bool) -> Network:
    last = [f"conv{stage}_block{count}_out" for stage, count in enumerate(blocks, start=2)]
    if preactivated:
        last[-1] = "post_relu"
    form = (
        "In the pre-activation form of arXiv:1603.05027; its endpoints but the last are sums, "
        "before normalisation and ReLU."
        if preactivated
        else "In the original form of arXiv:1512.03385."
    )
    return Network(
        name=name,
        title=title,
        about=f"{' + '.join(map(str, blocks))} bottleneck blocks. {form}",
        features=functools.partial(
            _preactivated_features if preactivated else _features, blocks=blocks
        ),
        top=_top,
        levels=tuple(
            f"the 3x3 of stage res{stage}, {filters} channels"
            for stage, filters in enumerate(_STAGE_FILTERS, start=2)
        ),
        endpoints={
            "C1": "conv1_relu",
            **{f"C{stage}": layer for stage, layer in enumerate(last, start=2)},
        },
        root=16,
        options={} if preactivated else {"stride_in_1x1": _STRIDE_OPTION},
    )


NETWORKS = (
    _network("resnet50", "ResNet-50", (3, 4, 6, 3), preactivated=False),
    _network("resnet101", "ResNet-101", (3, 4, 23, 3), preactivated=False),
    _network("resnet152", "ResNet-152", (3, 8, 36, 3), preactivated=False),
    _network("resnet50v2", "pre-activation ResNet-50", (3, 4, 6, 3), preactivated=True),
    _network("resnet101v2", "pre-activation ResNet-101", (3, 4, 23, 3), preactivated=True),
    _network("resnet152v2", "pre-activation ResNet-152", (3, 8, 36, 3), preactivated=True),
    _network("resnet200", "pre-activation ResNet-200", (3, 24, 36, 3), preactivated=True),
)
_BY_NAME = {network.name: network for network in NETWORKS}

RootResNet50 = factory("RootResNet50", _BY_NAME["resnet50"], __name__)
RootResNet101 = factory("RootResNet101", _BY_NAME["resnet101"], __name__)
RootResNet152 = factory("RootResNet152", _BY_NAME["resnet152"], __name__)
RootResNet50V2 = factory("RootResNet50V2", _BY_NAME["resnet50v2"], __name__)
RootResNet101V2 = factory("RootResNet101V2", _BY_NAME["resnet101v2"], __name__)
RootResNet152V2 = factory("RootResNet152V2", _BY_NAME["resnet152v2"], __name__)
RootResNet200 = factory("RootResNet200", _BY_NAME["resnet200"], __name__)
