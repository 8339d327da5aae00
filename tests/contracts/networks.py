"""The networks of the registry: names of layers, shapes of outputs, numbers of parameters.

Rootify, weights by name and transfer rely on the names. `python -m tests.contracts.networks` writes
files/networks.txt.
"""

import itertools
import re
from collections.abc import Iterator

import keras

import keras_roots
from tests.contracts import frozen

FILE = "networks.txt"


def lines() -> Iterator[str]:
    """For each network, as built by default: a line about it, and one for each of its blocks."""
    for name in keras_roots.list_models():
        yield from of_network(name)


def of_network(name: str) -> Iterator[str]:
    """The lines of one network."""
    model = keras_roots.build(name)
    yield (
        f"{name}: {len(model.layers)} layers, {model.count_params()} parameters, "
        f"{model.input_shape} to {model.output_shape}"
    )
    for prefix, layers in itertools.groupby(model.layers, _prefix):
        yield f"  {name} {prefix}* " + " ".join(_described(layer, prefix) for layer in layers)


def _prefix(layer: keras.Layer) -> str:
    """What the names of a block's layers begin with, such as "conv2_block1_"."""
    found = re.match(r"(conv\d+_block\d+|[a-z]+\d+[a-z]?|[a-z]+)(?=_|$)", layer.name)
    return found[0] if found else layer.name


def _described(layer: keras.Layer, prefix: str) -> str:
    """The rest of its name, the size of its output, and its groups if there are some."""
    size = "x".join(str(n) for n in layer.output.shape[1:])
    groups = getattr(layer, "groups", 1)
    # Keras counts the inputs that it has no name for.
    rest = "" if isinstance(layer, keras.layers.InputLayer) else layer.name[len(prefix) :]
    return f"{rest}:{size}" + (f"/{groups}" if groups > 1 else "")


if __name__ == "__main__":
    frozen.write(FILE, lines)
