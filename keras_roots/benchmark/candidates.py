"""What `benchmark networks` times: networks of the registry with filter groups, and files."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_roots.benchmark.measured import name_of, require_file, sized, with_dense
from keras_roots.benchmark.records import FILES
from keras_roots.cost import cost
from keras_roots.models import build, network
from keras_roots.requirements import require_extras
from keras_roots.surgery import without_auxiliary_heads
from keras_roots.topology import RootLike, Topology

RANDOM = "random"


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A network with one topology, or a file.

    Attributes:
        network, topology, weights, parameters, macs: as of a `records.Record`
            and its session.
        input_shape: of one image.
        batch: the only one that a TFLite file takes; None for any.
        make: builds or loads the model; None of a TFLite file.
        path: of a file.
    """

    network: str
    topology: str
    weights: str
    input_shape: tuple[int, ...]
    parameters: int | None = None
    macs: int | None = None
    batch: int | None = None
    make: Callable[[], keras.Model] | None = None
    path: str | None = None


def of_network(
    name: str, roots: Iterable[RootLike], options: Mapping[str, Any], image_size: int | None
) -> Iterator[Candidate]:
    """The dense network and those with groups, of random weights; each is built once to see.

    Raises:
        ValueError: it cannot be built so.
    """
    network(name)  # Raises if it is unknown.
    arguments = sized(options, image_size)
    for topology in with_dense(roots):
        make = functools.partial(_random, name, topology, arguments)
        yield _of_model(make, name, network=name, topology=name_of(topology), weights=RANDOM)


def of_keras_file(
    path: str, load: Callable[[str], keras.Model], image_size: int | None
) -> Candidate:
    """A model that was saved.

    Args:
        path: of a `.keras` file.
        load: what reads it.
        image_size: height and width, where the model leaves them open.

    Raises:
        FileNotFoundError, ValueError: it cannot be loaded, or is of another
            kind than from one image to one output.
    """
    digest = _digest(path)
    make = functools.partial(_loaded, path, load, image_size)
    return _of_model(make, path, network=FILES, topology=path, weights=digest, path=path)


def _of_model(make: Callable[[], keras.Model], name: str, **more: Any) -> Candidate:
    """A candidate whose model is built once to see; `name` is for errors."""
    model = make()
    counts, shape = cost(model), _shape(model, name)
    del model
    keras.backend.clear_session()  # Together they would fill the memory.
    return Candidate(
        input_shape=shape, parameters=counts.parameters, macs=counts.macs, make=make, **more
    )


def of_tflite_file(path: str) -> Candidate:
    """A TFLite file, whoever made it, of one input and one output.

    Raises:
        FileNotFoundError, ValueError: it cannot be read, or is of another kind.
    """
    require_extras("Timing a TFLite file", {"ai_edge_litert": "litert"})
    from ai_edge_litert.interpreter import Interpreter

    digest = _digest(path)
    try:
        interpreter = Interpreter(model_path=path)
    except ValueError as error:
        raise ValueError(f"'{path}' is no TFLite file: {error}") from error
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    shapes = [tuple(map(int, each["shape_signature"])) for each in inputs]
    if len(inputs) != 1 or len(outputs) != 1 or min(shapes[0][1:], default=0) < 1:
        raise ValueError(
            f"Expected a TFLite file of one input, its size fixed, and one output. Received: "
            f"'{path}', of inputs {', '.join(map(str, shapes))} and {len(outputs)} outputs"
        )
    batch, *shape = shapes[0]
    return Candidate(
        network=FILES,
        topology=path,
        weights=digest,
        input_shape=tuple(shape),
        batch=None if batch < 0 else batch,
        path=path,
    )


def _random(name: str, topology: Topology, arguments: Mapping[str, Any]) -> keras.Model:
    keras.utils.set_random_seed(0)
    return without_auxiliary_heads(build(name, root=topology, **arguments))


def _loaded(path: str, load: Callable[[str], keras.Model], size: int | None) -> keras.Model:
    model = without_auxiliary_heads(load(path))
    shape = _shape(model, path, may_be_open=True)
    if None not in shape:
        if size is not None and shape != (size, size, shape[-1]):
            raise ValueError(f"'{path}' takes images of {shape} only: omit image_size={size}")
        return model
    if size is None:
        raise ValueError(f"'{path}' leaves its image size open: give image_size=...")
    inputs = keras.Input(tuple(size if length is None else length for length in shape))
    return keras.Model(inputs, model(inputs), name=model.name)


def _shape(model: keras.Model, name: str, *, may_be_open: bool = False) -> tuple:
    """Of the image that a model takes."""
    inputs = (getattr(model, "inputs", None) if model.built else None) or []
    shapes = [tuple(tensor.shape[1:]) for tensor in inputs]
    outputs = getattr(model, "outputs", None) or []
    if (
        len(shapes) != 1
        or len(shapes[0]) != 3
        or len(outputs) != 1
        or (None in shapes[0] and not may_be_open)
    ):
        raise ValueError(
            f"Expected a model from one image of a fixed size to one output. Received: '{name}', "
            f"with inputs of {', '.join(map(str, shapes)) or 'unknown shapes'} and "
            f"{len(outputs)} outputs"
        )
    return shapes[0]


def _digest(path: str | os.PathLike) -> str:
    """Tells one content of a file from another."""
    require_file(path)
    return f"sha256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]}"
