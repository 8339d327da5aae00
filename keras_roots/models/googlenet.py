"""GoogLeNet with batch normalisation, dense and with filter groups.

Source: Szegedy et al., "Going Deeper with Convolutions", arXiv:1409.4842, as
Ioannou et al., arXiv:1605.06489, train it: batch normalisation without scale
and bias after every convolution (each of which has a bias of its own), no
local response normalisation. Groups as there: the 3x3 and 5x5 of a module
alike.

Two geometries: "szegedy" has the maps of the GoogLeNet paper, 28, 14 and 7
pixels wide. "deep-roots" has those of which the published counts are: the
poolings before modules 4a and 5a are padded by 1 and round up, so that the
maps are 28, 15 and 8 wide, and the 7x7 average pooling leaves 2x2 pixels to
the classifier.

In the sense of the initialiser, the three 1x1 convolutions that read a
module's input are one compound layer; the others read each a tensor of its own.

Deviations: in the "deep-roots" geometry, the windows of the auxiliary heads'
pooling begin a pixel outside the map rather than end two outside. The
classifiers are drawn by Keras's default (Glorot).
"""

import keras

from keras_roots.layers import CompoundHeNormal, FusedBatchNormalization, convolution
from keras_roots.models.application import Network, Option, factory

# Filters of each inception module: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection.
_MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_HEADS = ("4a", "4d")


def _features(x, groups, geometry: str, auxiliary_heads: bool):
    degrees = dict(zip("2345", groups, strict=True))
    x = keras.layers.ZeroPadding2D(3, name="conv1_pad")(x)
    x = _convolution(x, 64, 7, "conv1", strides=2, padding="valid")
    x = _pool(x, "pool1")
    x = _convolution(x, 64, 1, "conv2_reduce")
    x = _convolution(x, 192, 3, "conv2", groups=degrees["2"])
    x = _pool(x, "pool2")
    heads = []
    for module, filters in _MODULES.items():
        if module in ("4a", "5a"):
            x = _pool(x, f"pool{int(module[0]) - 1}", padded=geometry == "deep-roots")
        x = _inception(x, filters, degrees[module[0]], f"inception_{module}")
        if auxiliary_heads and module in _HEADS:
            heads.append(x)
    return (*heads, x)


def _inception(x, filters: tuple[int, ...], groups: int, name: str):
    pointwise, reduce3, spatial3, reduce5, spatial5, projection = filters
    compound = [(1, 1, n) for n in (pointwise, reduce3, reduce5)]

    def reader_of_x(filters: int, branch: str):
        # An initialiser of its own for each: one alone would draw equal kernels.
        initializer = CompoundHeNormal(compound)
        return _convolution(x, filters, 1, f"{name}_{branch}", kernel_initializer=initializer)

    pooled = keras.layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    three, five = reader_of_x(reduce3, "3x3_reduce"), reader_of_x(reduce5, "5x5_reduce")
    branches = [
        reader_of_x(pointwise, "1x1"),
        _convolution(three, spatial3, 3, f"{name}_3x3", groups=groups),
        _convolution(five, spatial5, 5, f"{name}_5x5", groups=groups),
        _convolution(pooled, projection, 1, f"{name}_pool_projection"),
    ]
    return keras.layers.Concatenate(axis=_channel_axis(), name=f"{name}_output")(branches)


def _convolution(x, filters: int, kernel_size: int, name: str, padding: str = "same", **kwargs):
    x = convolution(filters, kernel_size, padding=padding, name=f"{name}_conv", **kwargs)(x)
    x = FusedBatchNormalization(
        axis=_channel_axis(),
        epsilon=1.001e-5,
        momentum=0.9,
        center=False,
        scale=False,
        name=f"{name}_bn",
    )(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _pool(x, name: str, padded: bool = False):
    """Max pooling 3x3/2; padded by 1 and rounding up, if so."""
    if padded:
        x = keras.layers.ZeroPadding2D(((1, 2), (1, 2)), name=f"{name}_pad")(x)
    padding = "valid" if padded else "same"
    return keras.layers.MaxPooling2D(3, strides=2, padding=padding, name=name)(x)


def _top(*maps, classes: int, activation, geometry: str, auxiliary_heads: bool):
    *heads, x = maps
    if geometry == "szegedy":
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    else:
        _require(x, 7, "the 7x7 average pooling of geometry='deep-roots'")
        x = keras.layers.AveragePooling2D(7, strides=1, name="avg_pool")(x)
        x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dropout(0.4, name="dropout")(x)
    predictions = keras.layers.Dense(classes, activation=activation, name="predictions")(x)
    if not auxiliary_heads:
        return predictions
    outputs = {"predictions": predictions}
    for module, x in zip(_HEADS, heads, strict=True):
        _require(x, 5, "the 5x5 pooling of the auxiliary heads")
        name = f"auxiliary_{module}"
        padding = "valid" if geometry == "szegedy" else "same"
        x = keras.layers.AveragePooling2D(5, strides=3, padding=padding, name=f"{name}_pool")(x)
        x = _convolution(x, 128, 1, f"{name}_1x1")
        x = keras.layers.Flatten(name=f"{name}_flatten")(x)
        x = keras.layers.Dense(
            1024, activation="relu", kernel_initializer=CompoundHeNormal(), name=f"{name}_dense"
        )(x)
        x = keras.layers.Dropout(0.7, name=f"{name}_dropout")(x)
        outputs[name] = keras.layers.Dense(classes, activation=activation, name=name)(x)
    return outputs


def _channel_axis() -> int:
    return -1 if keras.config.image_data_format() == "channels_last" else 1


def _require(x, size: int, what: str) -> None:
    pixels = x.shape[1:3] if _channel_axis() == -1 else x.shape[2:4]
    if min(pixels) < size:
        raise ValueError(
            f"The images are too small: {what} meets feature maps of {pixels[0]}x{pixels[1]} "
            f"pixels, and takes {size}x{size} or more. Give larger ones, such as 224x224."
        )


NETWORKS = (
    Network(
        name="googlenet",
        title="GoogLeNet",
        about="Nine inception modules, with batch normalisation.",
        features=_features,
        top=_top,
        levels=(
            "the 3x3 of conv2",
            "the 3x3 and 5x5 of modules 3a and 3b",
            "those of modules 4a to 4e",
            "those of modules 5a and 5b",
        ),
        endpoints={
            "C1": "conv1_relu",
            "C2": "conv2_relu",
            "C3": "inception_3b_output",
            "C4": "inception_4e_output",
            "C5": "inception_5b_output",
        },
        root=8,
        options={
            "geometry": Option(
                "szegedy",
                '"szegedy" for the feature maps of the GoogLeNet paper (28, 14 and 7 pixels '
                'wide), "deep-roots" for those of which Ioannou et al. publish counts (28, 15 '
                "and 8).",
                choices=("szegedy", "deep-roots"),
            ),
            "auxiliary_heads": Option(
                False,
                "whether to have the two classifiers on modules 4a and 4d that help in training. "
                "The outputs are then a dictionary; `keras_roots.auxiliary_heads` shows how to "
                "train such a model. `keras_roots.without_auxiliary_heads(model)` leaves them "
                "out, and so does the export to TFLite.",
                top_only=True,
            ),
        },
        any_size=lambda geometry, auxiliary_heads: geometry == "szegedy" and not auxiliary_heads,
    ),
)

RootGoogLeNet = factory("RootGoogLeNet", NETWORKS[0], __name__)
