"""tf-keras's convolutions, computed as this package's are.

tf-keras compiles each grouped convolution with XLA, whose CPU code for its gradients is many times
slower than it need be. While a model is fine-tuned, its own convolutions, or those inside of
tensorflow-model-optimization's wrappers, take the lowerings of `keras_roots.layers.Conv2D`; and
while it is converted, TensorFlow's operator as it stands, of which TFLite has a grouped builtin.

Only these layers are changed, and only for so long.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

from keras_roots.compression.legacy import libraries
from keras_roots.layers import shape_of
from keras_roots.lowering import choice, passes, ways

_GROUPED, _DENSE = "_jit_compiled_convolution_op", "convolution_op"


@contextlib.contextmanager
def fast(model: Any) -> Iterator[None]:
    """What is traced inside trains fast."""
    with _replaced(model, _lowered):
        yield


@contextlib.contextmanager
def native(model: Any) -> Iterator[None]:
    """What is traced inside has TensorFlow's operators, grouped where the layer is."""
    with _replaced(model, lambda layer: type(layer).convolution_op.__get__(layer)):
        yield


@contextlib.contextmanager
def _replaced(model: Any, make) -> Iterator[None]:
    changed = []
    try:
        for layer in convolutions(model):
            # tf-keras looks for one of the two, after the number of groups.
            name = _GROUPED if layer.groups > 1 else _DENSE
            object.__setattr__(layer, name, make(layer))
            changed.append((layer, name))
        yield
    finally:
        for layer, name in changed:
            object.__delattr__(layer, name)


def convolutions(model: Any) -> list[Any]:
    """The model's Conv2D layers, those in wrappers included."""
    plain = libraries().keras.layers.Conv2D
    found = []
    for layer in model.layers:
        while hasattr(layer, "layer"):
            layer = layer.layer
        if type(layer) is plain:
            found.append(layer)
    return found


def _lowered(layer: Any):
    geometry = ways.Geometry(
        tuple(layer.strides), layer.padding, tuple(layer.dilation_rate), layer.data_format
    )
    as_it_is = type(layer).convolution_op.__get__(layer)

    def convolution_op(inputs, kernel):
        plan = choice.plan(inputs, shape_of(layer, inputs.shape), geometry, "auto")
        if plan is None:
            return as_it_is(inputs, kernel)
        return passes.convolution(inputs, kernel, None, geometry, plan, training=True)

    return convolution_op
