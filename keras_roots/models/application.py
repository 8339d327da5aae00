"""What every network's factory does alike, with keras.applications' arguments.

A family's module has a table of `Network`s and a builder of their layers;
`factory` makes of a row the public function, whose arguments, checks and
documentation are the same for all.
"""

import dataclasses
import difflib
import functools
import inspect
import numbers
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from keras_roots.layers import CompoundHeNormal
from keras_roots.surgery import convolutions
from keras_roots.topology import IndivisibleError, RootLike, as_topology, working_degrees

_WEIGHT_FILES = (".weights.h5", ".keras")


@dataclasses.dataclass(frozen=True)
class Option:
    """A keyword argument that one family has and the others have not.

    Attributes:
        default: its value where none is given.
        doc: what it does, for the factory's documentation.
        choices: the values that it takes; True and False by default.
        top_only: whether it means something only with `include_top=True`.
    """

    default: Any
    doc: str
    choices: tuple = (False, True)
    top_only: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A row of a family's table.

    Attributes:
        name: in the registry, such as "resnet50".
        title: as its paper writes it, such as "ResNet-50".
        about: what else the factory's documentation says.
        features: function of (image tensor, groups of each level, **options)
            to feature maps; or to a tuple of them whose last are the
            network's, and whose others go to the top as well.
        top: function of (*feature maps, classes=, activation=, **options) to
            class scores [batch, classes], or to a dictionary of several.
        levels: what each level holds, in words, first to last.
        endpoints: the layer at which each resolution ends, by "C1", "C2", ...;
            Ck has an output stride of 2 to the power of k.
        root: degree by default.
        image_size: height and width by default, in pixels.
        minimum_size: the smallest that it takes.
        classes: number of classes by default.
        options: keyword arguments of this family.
        any_size: function of the options: whether the top takes images whose
            height and width are left open.
    """

    name: str
    title: str
    about: str
    features: Callable
    top: Callable
    levels: tuple[str, ...]
    endpoints: Mapping[str, str]
    root: int
    image_size: int = 224
    minimum_size: int = 32
    classes: int = 1000
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    any_size: Callable[..., bool] = lambda **_: True


class Factory(Protocol):
    """The signature of all factories; see their documentation."""

    __name__: str

    def __call__(
        self,
        include_top: bool = True,
        weights: str | os.PathLike | None = None,
        input_tensor=None,
        input_shape: tuple | None = None,
        pooling: str | None = None,
        classes: int = 1000,
        classifier_activation: str | Callable | None = "softmax",
        name: str | None = None,
        *,
        root: RootLike = 16,
        **options: Any,
    ) -> keras.Model: ...


_DOC = """{title}, dense or with filter groups.

{about}

Args:
    include_top: whether to have the classifier.
    weights: None (random), or a file that `model.save_weights` or
        `model.save` wrote.
    input_tensor: Keras tensor to build upon, instead of a new input.
    input_shape: (height, width, channels), or channels first if that is
        Keras's image data format; ({size}, {size}, 3) by default,
        {minimum}x{minimum} at least. Height and width may be None{fixed}.
    pooling: without a top: None, "avg" or "max".
    classes: number of classes.
    classifier_activation: of the top; None for logits.
    name: name of the model; `{name}` or, say, `{name}_root-{root}` by
        default.
    root: r for root-r: r groups at first, halved with every
        sub-sampling, and 1 the dense network; or a topology such as
        `keras_roots.column(8)`, or {levels} degrees, for:
{level_list}{options}

Returns:
    A model from images [batch, height, width, channels] to class scores
    [batch, classes], or without a top to feature maps.
    `keras_roots.endpoints("{name}")` names the last layer of each
    resolution.

Raises:
    ValueError: an argument is not as above, or the degrees do not divide
        the channels.
    FileNotFoundError: `weights` names no file.
"""


def factory(public_name: str, network: Network, module: str) -> Factory:
    """The public function that builds `network`.

    Args:
        public_name: such as "RootResNet50".
        module: the `__name__` of the module that has it under that name.
    """

    def build(
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        pooling=None,
        classes=network.classes,
        classifier_activation="softmax",
        name=None,
        *,
        root=network.root,
        **options,
    ):
        return _assemble(
            network,
            include_top=include_top,
            weights=weights,
            input_tensor=input_tensor,
            input_shape=input_shape,
            pooling=pooling,
            classes=classes,
            classifier_activation=classifier_activation,
            name=name,
            root=root,
            options=_check_options(public_name, network, options, include_top),
        )

    build.__name__ = build.__qualname__ = public_name
    build.__module__ = module
    build.__doc__ = _documentation(network)
    build.__annotations__ = dict(Factory.__call__.__annotations__)
    *common, _ = inspect.signature(build).parameters.values()
    own = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=option.default)
        for name, option in network.options.items()
    ]
    build.__signature__ = inspect.Signature([*common, *own])  # type: ignore[attr-defined]
    build.network = network  # type: ignore[attr-defined]
    return build


def _documentation(network: Network) -> str:
    def wrapped(text: str, indent: int, first: str = "") -> str:
        return textwrap.fill(
            " ".join(text.split()),
            79,
            initial_indent=first or " " * indent,
            subsequent_indent=" " * indent,
        )

    paragraphs = [wrapped(paragraph, 0) for paragraph in network.about.split("\n\n")]
    levels = [wrapped(level, 14, first=" " * 12 + "- ") for level in network.levels]
    options = [
        "\n" + wrapped(f"{name}: {option.doc}", 8, first=" " * 4)
        for name, option in network.options.items()
    ]
    return _DOC.format(
        title=network.title,
        about="\n\n".join(paragraphs),
        size=network.image_size,
        minimum=network.minimum_size,
        fixed="" if network.any_size(**_defaults(network)) else " without a top",
        name=network.name,
        root=network.root,
        levels=len(network.levels),
        level_list="\n".join(levels),
        options="".join(options),
    )


def _defaults(network: Network) -> dict[str, Any]:
    return {name: option.default for name, option in network.options.items()}


def _check_options(
    public_name: str, network: Network, options: Mapping[str, Any], include_top: bool
) -> dict:
    for name, value in options.items():
        if name not in network.options:
            raise TypeError(f"{public_name}() got an unexpected keyword argument '{name}'")
        option = network.options[name]
        if option.top_only and value != option.default and not include_top:
            raise ValueError(f"{name}={value!r} is part of the top. Received: include_top=False")
        choices = option.choices
        # 1 equals True, and is not meant.
        if not any(value == choice and type(value) is type(choice) for choice in choices):
            near = difflib.get_close_matches(str(value), map(str, choices), n=1)
            hint = f" Did you mean {near[0]!r}?" if near and isinstance(value, str) else ""
            raise ValueError(
                f"Expected {name} as one of {', '.join(map(repr, choices))}. "
                f"Received: {value!r}.{hint}"
            )
    return {**_defaults(network), **options}


def _assemble(
    network: Network,
    *,
    include_top: bool,
    weights,
    input_tensor,
    input_shape,
    pooling,
    classes,
    classifier_activation,
    name,
    root,
    options: dict,
) -> keras.Model:
    topology = as_topology(root)
    groups = topology.degrees(len(network.levels))
    name = name or (network.name if set(groups) == {1} else f"{network.name}_{topology}")
    _check_weights(weights, name)
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"Expected pooling=None, 'avg' or 'max'. Received: {pooling!r}")
    if not _is_positive_integer(classes):
        raise ValueError(f"Expected classes as a positive integer. Received: {classes!r}")
    keras.activations.get(classifier_activation)  # Raises for an unknown name.

    if input_tensor is None:
        shape = _check_shape(input_shape, network, name)
        inputs = x = keras.Input(shape)
    else:
        if not isinstance(input_tensor, keras.KerasTensor):
            raise ValueError(
                "Expected input_tensor as a Keras tensor, such as keras.Input((224, 224, 3)) or "
                f"the output of a layer. Received: {type(input_tensor).__name__}"
            )
        given = None if input_shape is None else _check_shape(input_shape, network, name)
        if given is not None and given != tuple(input_tensor.shape[1:]):
            raise ValueError(
                "input_shape and input_tensor disagree. Received: "
                f"input_shape={given}, input_tensor.shape={input_tensor.shape}"
            )
        shape = _check_shape(tuple(input_tensor.shape[1:]), network, name)
        inputs, x = keras.utils.get_source_inputs(input_tensor), input_tensor
    if include_top and None in shape and not network.any_size(**options):
        raise ValueError(
            f"The classifier of '{name}' has weights for each pixel of its feature maps, so its "
            f"images must have a fixed size. Received: input_shape={shape}. Give one, or "
            "include_top=False."
        )

    try:
        maps = network.features(x, groups, **options)
    except IndivisibleError as error:
        raise ValueError(f"{error} {_degrees_that_it_takes(network, topology.kind)}") from None
    maps = maps if isinstance(maps, tuple) else (maps,)
    outputs = maps[-1]
    if include_top:
        outputs = network.top(*maps, classes=classes, activation=classifier_activation, **options)
    elif pooling == "avg":
        outputs = keras.layers.GlobalAveragePooling2D(name="avg_pool")(outputs)
    elif pooling == "max":
        outputs = keras.layers.GlobalMaxPooling2D(name="max_pool")(outputs)
    model = keras.Model(inputs, outputs, name=name)
    if weights is not None:
        _load_weights(model, os.fspath(weights))
    return model


def dense_classifier(x, names: tuple[str, str], classes: int, activation):
    """The top of AlexNet and VGG: two dense layers with dropout, and the classifier."""
    x = keras.layers.Flatten(name="flatten")(x)
    for name in names:
        x = keras.layers.Dense(
            4096, activation="relu", kernel_initializer=CompoundHeNormal(), name=name
        )(x)
        x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
    return keras.layers.Dense(classes, activation=activation, name="predictions")(x)


@functools.cache
def _channels_of_levels(network: Network) -> tuple[frozenset[tuple[int, int]], ...]:
    """(channels, filters) of the spatial convolutions of each level, from the dense network."""
    size = network.image_size
    with keras.StatelessScope():  # Makes the variables' shapes, and no values.
        inputs = keras.Input(shape_of_size(size, 3))
        maps = network.features(inputs, (1,) * len(network.levels), **_defaults(network))
        model = keras.Model(inputs, maps)
        places = [place for place in convolutions.find(model) if place.obstacle is None]
    levels = sorted({place.area for place in places})
    return tuple(
        frozenset((place.channels, place.filters) for place in places if place.area == area)
        for area in levels
    )


def _degrees_that_it_takes(network: Network, kind: str) -> str:
    """For the error: what could have been given instead."""
    working = [
        set.intersection(*(set(working_degrees(*pair)) for pair in level))
        for level in _channels_of_levels(network)
    ]
    if kind == "explicit":
        levels = "; ".join(
            f"{level}: {', '.join(map(str, sorted(degrees)))}"
            for level, degrees in zip(network.levels, working, strict=True)
        )
        return f"Degrees that {network.title} takes: {levels}."
    make = {"root": lambda d, n: max(1, d >> n), "column": lambda d, _: d}.get(
        kind, lambda d, n: d << n
    )
    candidates = [1 << n for n in range(16)] if kind == "root" else range(1, max(working[0]) + 1)
    takes = [
        degree
        for degree in candidates
        if all(make(degree, level) in degrees for level, degrees in enumerate(working))
    ]
    return f"{kind.capitalize()} degrees that {network.title} takes: {', '.join(map(str, takes))}."


def _is_positive_integer(value) -> bool:
    # NumPy's integers are Integral too.
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) > 0


def shape_of_size(size: int, channels: int) -> tuple[int, int, int]:
    """Of a square image, in Keras's image data format."""
    channels_last = keras.config.image_data_format() == "channels_last"
    return (size, size, channels) if channels_last else (channels, size, size)


def _check_shape(shape, network: Network, name: str) -> tuple:
    channels_last = keras.config.image_data_format() == "channels_last"
    default = shape_of_size(network.image_size, 3)
    if shape is None:
        return default
    layout = "(height, width, channels)" if channels_last else "(channels, height, width)"
    if not isinstance(shape, Iterable) or isinstance(shape, str):
        raise ValueError(f"Expected input_shape as {layout}, such as {default}. Received: {shape}")
    shape = tuple(shape.tolist() if isinstance(shape, np.ndarray) else shape)
    if len(shape) != 3 or not all(n is None or _is_positive_integer(n) for n in shape):
        raise ValueError(f"Expected input_shape as {layout}, such as {default}. Received: {shape}")
    size, channels = (shape[:2], shape[2]) if channels_last else (shape[1:], shape[0])
    if channels is None:
        raise ValueError(
            f"The number of channels in input_shape, {layout}, must be given. Received: {shape}"
        )
    minimum = network.minimum_size
    if any(n is not None and n < minimum for n in size):
        raise ValueError(
            f"'{name}' takes images of {minimum}x{minimum} pixels or more. "
            f"Received: input_shape={shape}"
        )
    return shape


def _check_weights(weights, name: str) -> None:
    if weights is None:
        return
    if not isinstance(weights, (str, os.PathLike)):
        raise ValueError(
            f"Expected weights=None or the path of a file. Received: {type(weights).__name__}"
        )
    path = Path(weights)
    if not path.suffix and path.name == os.fspath(weights) and not path.is_file():
        raise ValueError(
            f"No trained weights have been published for '{name}' (weights={weights!r}). Take "
            "weights=None for random initialisation, or the path of a file that "
            "model.save_weights or model.save wrote."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file at {str(path)!r}.")
    if not path.name.endswith(_WEIGHT_FILES):
        raise ValueError(
            f"Expected a weights file that ends in {' or '.join(_WEIGHT_FILES)}, as "
            f"model.save_weights and model.save write. Received: {str(path)!r}"
        )


def _load_weights(model: keras.Model, path: str) -> None:
    try:
        model.load_weights(path)
    except Exception as error:  # h5py, zipfile and Keras each have their own.
        reason = " ".join(str(error).split())
        raise ValueError(
            f"The weights in {path!r} are not those of this network ('{model.name}', "
            f"{model.count_params():,} parameters): {reason}"
        ) from error
