"""The outputs of a model's layers, batch by batch, of nested models' layers too."""

import dataclasses
import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np

from keras_roots.surgery import graph


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a layer's output is.

    Attributes:
        path: of the layer, "a/b" in a nested model; see `keras_roots.surgery.graph.Call`.
        tensor: the number of its output in the graph, at its first call.
        channels_last: where its channels are.
    """

    path: str
    tensor: int
    channels_last: bool


class Places:
    """The outputs of a model's layers, by name.

    Args:
        model: functional or Sequential.

    Attributes:
        traced: its graph.

    Raises:
        ValueError: it is of another kind, or has not been built.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.traced = graph.trace(model)
        self._by_path: dict[str, Place] = {}
        self._maker: dict[int, tuple[str, graph.Call | None]] = {}
        self._several: set[str] = set()
        for tensor, number in zip(graph.functional(model).inputs, self.traced.inputs, strict=True):
            name = tensor._keras_history.operation.name
            self._add(name, number, None)
        for call in self.traced.calls:
            if len(call.outputs) == 1:
                self._add(call.path, call.outputs[0], call)
            else:
                self._several.add(call.path)
            for number in call.outputs:
                self._maker.setdefault(number, (call.path, call))

    def _add(self, path: str, tensor: int, call: graph.Call | None) -> None:
        layer = None if call is None else call.layer
        data_format = getattr(layer, "data_format", None) or keras.config.image_data_format()
        place = Place(path, tensor, data_format == "channels_last")
        self._by_path.setdefault(path, place)
        self._maker[tensor] = (path, call)

    def find(self, name: str) -> Place:
        """The output of the layer of this path, or of this name if it is the only one.

        Raises:
            ValueError: there is no such layer, there are several, or it has several outputs.
        """
        found = [path for path in self._by_path if name in (path, path.rpartition("/")[2])]
        if name in self._by_path:
            return self._by_path[name]
        if len(found) == 1:
            return self._by_path[found[0]]
        if found:
            raise ValueError(
                f"'{self.model.name}' has several layers {name!r}. Give one of: {', '.join(found)}"
            )
        if name in self._several:
            raise ValueError(
                f"Layer {name!r} of '{self.model.name}' has several outputs: give one that reads "
                "the output that is wanted."
            )
        known = [*self._by_path, *(path.rpartition("/")[2] for path in self._by_path)]
        near = list(dict.fromkeys(difflib.get_close_matches(str(name), known, n=3)))
        hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise ValueError(f"'{self.model.name}' has no layer {name!r}.{hint}")

    def read_by(self, path: str) -> Place:
        """The output that a layer reads at its first call; zero padding before it is passed over.

        (It adds nothing but a border, by which the pixels would be shifted.)
        """
        call = next(call for call in self.traced.calls if call.path == path)
        tensor = call.inputs[0]
        while True:
            name, maker = self._maker[tensor]
            if maker is None or not isinstance(maker.layer, keras.layers.ZeroPadding2D):
                break
            tensor = maker.inputs[0]
        data_format = getattr(call.layer, "data_format", None) or keras.config.image_data_format()
        return Place(name, tensor, data_format == "channels_last")


class Responses:
    """Some layers' outputs, as a function of images.

    A response is what a layer gives: a convolution's own output, before the normalisation that
    follows and after an activation that is part of it. Of a layer that is called several times, it
    is that of the first call. Inference, not training: batch normalisation has its moving
    averages, and dropout does nothing.

    Args:
        places: of the model, which has one input.
        wanted: which of them.
        image_shape: of an image as the model takes it, without the batch.

    Attributes:
        shapes: height, width and channels of each, by path; 1 x 1 of vectors.

    Raises:
        ValueError: the model has several inputs or does not take such images, or an output is
            neither maps [batch, height, width, channels] (or channels first) nor vectors [batch,
            channels] of numbers.
    """

    def __init__(self, places: Places, wanted: Iterable[Place], image_shape: Sequence[int]):
        self._wanted = list({place.path: place for place in wanted}.values())
        self._model = _Outputs(places, [place.tensor for place in self._wanted])
        name, shape = places.model.name, tuple(image_shape)
        try:
            made = self._model.compute_output_spec(keras.KerasTensor((1, *shape)))
        except Exception as error:  # Whatever a layer raises on sizes that it does not take.
            raise ValueError(
                f"'{name}' does not take images of {shape}: {' '.join(str(error).split())}"
            ) from error
        self.shapes: dict[str, tuple[int, int, int]] = {}
        for place, tensor in zip(self._wanted, made, strict=True):
            shape = tuple(tensor.shape)
            if len(shape) not in (2, 4) or None in shape[1:]:
                raise ValueError(
                    f"Expected layers whose output is feature maps or vectors. Received: "
                    f"{place.path!r} of '{name}', whose output is {shape}"
                )
            rest = shape[1:] if len(shape) == 4 else (1, 1, shape[1])
            self.shapes[place.path] = (
                rest if place.channels_last or len(shape) == 2 else (*rest[1:], rest[0])
            )

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """[n, height, width, channels] of each, by path.

        Raises:
            RuntimeError: a response is not finite.
        """
        responses = {}
        for place, output in zip(
            self._wanted, self._model.predict_on_batch(np.asarray(images)), strict=True
        ):
            maps = np.asarray(output)
            if not np.isfinite(maps).all():
                raise RuntimeError(
                    f"The responses of {place.path!r} are not finite (NaN or infinite): the "
                    "model's weights are broken, or the images are not preprocessed as it was "
                    "trained."
                )
            if maps.ndim == 4 and not place.channels_last:
                maps = np.moveaxis(maps, 1, -1)
            responses[place.path] = maps.reshape(len(maps), *self.shapes[place.path])
        return responses


class _Outputs(keras.Model):
    """Makes the calls of a graph that some tensors need, and returns these.

    A functional model of them would not do: tensors inside of a nested model belong to another
    graph than the model's.
    """

    def __init__(self, places: Places, tensors: list[int]):
        super().__init__(name="outputs")
        self._source = places.model  # So that its variables are known to Keras.
        inputs = places.traced.inputs
        if len(inputs) != 1:
            raise ValueError(
                f"Expected a model with one input. '{places.model.name}' has {len(inputs)}."
            )
        needed, calls = set(tensors), []
        for call in reversed(places.traced.calls):
            if needed.intersection(call.outputs):
                needed.update(call.inputs)
                calls.append(call)
        self._plan = (inputs[0], tuple(reversed(calls)), tuple(tensors))
        self._input_dtype = graph.functional(places.model).inputs[0].dtype
        # XLA takes minutes to compile large networks in TensorFlow.
        self.jit_compile = keras.backend.backend() != "tensorflow"

    def call(self, images: Any) -> list[Any]:
        first, calls, tensors = self._plan
        values = {first: keras.ops.cast(images, self._input_dtype)}
        for call in calls:
            places = call.arguments.keras_tensors
            given = {
                id(place): values[number] for place, number in zip(places, call.inputs, strict=True)
            }
            args, kwargs = call.arguments.fill_in(given)
            if getattr(call.layer, "_call_has_training_arg", False):
                kwargs["training"] = False
            made = keras.tree.flatten(call.layer(*args, **kwargs))
            values.update(zip(call.outputs, made, strict=True))
        # NumPy has no bfloat16.
        return [keras.ops.cast(values[number], "float32") for number in tensors]
