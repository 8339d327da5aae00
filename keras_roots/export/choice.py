"""Which lowering each layer of a TFLite file gets: `keras_roots.lowering`'s choice for LiteRT."""

import functools
from collections.abc import Callable, Iterable

import numpy as np

from keras_roots.export.convert import Precision, convert
from keras_roots.export.inference_graph import Convolution, InferenceGraph
from keras_roots.export.interpreter import make_interpreter
from keras_roots.lowering import Choice, Explanation, LayerShape, choice, tuning
from keras_roots.reporting import silent
from keras_roots.timing import Timings, interleaved

POLICIES = ("auto", "tuned", "native")


def choose(
    graph: InferenceGraph,
    precision: Precision,
    policy: str = "auto",
    *,
    threads: int = 1,
    report: Callable[[str], object] = silent,
) -> list[Explanation]:
    """Chooses the lowering of each layer that has several.

    Args:
        graph: its convolutions are the layers.
        precision: of the file.
        policy: "auto": after the measurements that this package brings, of
            the most similar layer; "tuned": after measurements on this
            machine, which are cached; "native".
        threads: with which "tuned" measures.
        report: takes lines of progress.

    Raises:
        ValueError: unknown policy.
    """
    check_policy(policy)
    context = f"litert-{precision}"
    layers = {step.name: step.operation.shape for step in graph.convolutions()}
    shapes = {shape for shape in layers.values() if len(choice.candidates(shape, context)) > 1}
    layers = {name: shape for name, shape in layers.items() if shape in shapes}
    if policy == "native":
        choices = dict.fromkeys(shapes, Choice("native", "native was asked for"))
    elif policy == "tuned":
        timer = functools.partial(timings, precision=precision, threads=threads)
        choices = tuning.tuned(layers.values(), context, timer, threads=threads, report=report)
    else:
        choices = {shape: choice.choose(shape, context) for shape in shapes}
    return [Explanation(name, shape, {"forward": choices[shape]}) for name, shape in layers.items()]


def check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise ValueError(
            f"Expected lowering as one of: {', '.join(POLICIES)}. Received: {policy!r}"
        )


def timings(
    shape: LayerShape,
    lowerings: Iterable[str],
    *,
    precision: Precision,
    threads: int = 1,
    rounds: int = 10,
) -> dict[str, Timings]:
    """Times lowerings of one layer in LiteRT, in turns.

    Each is alone in a TFLite file, with the activation that is fused into it.

    Args:
        shape: of the layer.
        lowerings: those that files can have; "dense" is native without groups.
        precision: of the file.
        threads: of the interpreter.
        rounds: turns of each; a turn is one untimed run and five timed ones.
    """
    calls = {
        name: _alone(random_convolution(shape, name), precision, threads) for name in lowerings
    }
    return interleaved(calls, rounds=rounds, per_turn=5, warmup=3, untimed_per_turn=1)


def random_convolution(shape: LayerShape, lowering: str) -> Convolution:
    """A convolution of this shape, of random weights; by "dense" native without groups."""
    rng = np.random.default_rng(0)
    dense = lowering == "dense"
    channels = shape.input_shape[-1] // (1 if dense else shape.groups)
    kernel = rng.normal(size=(*shape.kernel_size, channels, shape.filters))
    return Convolution(
        kernel=(kernel / np.sqrt(kernel[..., 0].size)).astype(np.float32),
        bias=rng.normal(size=shape.filters).astype(np.float32),
        input_shape=shape.input_shape,
        strides=shape.strides,
        dilation_rate=shape.dilation_rate,
        padding=shape.padding,
        lowering="native" if dense else lowering,
    )


def _alone(layer: Convolution, precision: Precision, threads: int) -> Callable[[], object]:
    import tensorflow as tf

    images = np.random.default_rng(1).normal(size=(2, *layer.input_shape)).astype(np.float32)
    content = convert(
        lambda x: tf.nn.relu(layer(x)),
        [tf.TensorSpec((1, *layer.input_shape), tf.float32, name="images")],
        name=layer.lowering,
        precision=precision,
        calibration=(images,),
        quantized_interface=True,
    )
    interpreter = make_interpreter(content, threads)
    (given,) = interpreter.get_input_details()
    image = images[:1] if precision != "int8" else np.clip(images[:1] * 32, -128, 127)
    interpreter.set_tensor(given["index"], image.astype(given["dtype"]))
    return interpreter.invoke
