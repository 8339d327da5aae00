"""A model as one function for inference, in TensorFlow or compiled by XLA.

The exact simplifications of `simplify` (normalisation folded into the
convolutions before it, pixels that nobody reads not computed, ...), weights as
constants, and the lowering of each convolution for where it is to run.
"""

from collections.abc import Callable
from typing import Literal

import keras

from keras_roots import lowering
from keras_roots.export.exportable import Exportable, require_exportable
from keras_roots.export.inference_graph import InferenceGraph, inference_graph
from keras_roots.export.simplify import simplify
from keras_roots.lowering import choice
from keras_roots.requirements import require_tensorflow
from keras_roots.surgery import without_auxiliary_heads

Target = Literal["cpu", "gpu"]
TARGETS: tuple[Target, ...] = ("cpu", "gpu")


def inference_function(
    model: keras.Model, *, jit_compile: bool = True, target: Target | None = None
):
    """Makes a function for inference of a model, its weights as they are now.

    Args:
        model: functional or Sequential, its input sizes fixed; auxiliary heads
            are left out.
        jit_compile: compile it with XLA, once for each batch size.
        target: where it is to run; by default this machine's GPU, if it has
            one, else its CPU.

    Returns:
        A `tf.function` from float32 images [batch, height, width, channels]
        (or as many inputs as the model has) to what `model(images,
        training=False)` returns, to rounding; of several outputs a list.

    Raises:
        ValueError: the model is of another kind, or Keras not on TensorFlow.
    """
    require_tensorflow("An inference function")
    import tensorflow as tf

    context = context_of(jit_compile=jit_compile, target=target)
    model = without_auxiliary_heads(model)
    require_exportable(model)
    graph = lowered(simplify(inference_graph(model)), context)

    def infer(*inputs):
        with lowering.traced_for(context):  # For layers that are called as they are.
            return graph(*inputs)

    names = ["images"] if len(model.inputs) == 1 else [tensor.name for tensor in model.inputs]
    signature = [
        tf.TensorSpec((None, *shape), tensor.dtype, name=name)
        for name, shape, tensor in zip(names, graph.input_shapes, model.inputs, strict=True)
    ]
    return tf.function(infer, signature, autograph=False, jit_compile=jit_compile)


def context_of(*, jit_compile: bool, target: Target | None) -> str:
    """Where a function runs, as `keras_roots.lowering` names it.

    Raises:
        ValueError: unknown target.
    """
    import tensorflow as tf

    if target not in (None, *TARGETS):
        raise ValueError(f"Expected target as one of: {', '.join(TARGETS)}. Received: {target!r}")
    if target is None:
        accelerated = any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
        target = "gpu" if accelerated else "cpu"
    if target == "gpu":
        return "accelerator"
    return "xla-cpu" if jit_compile else "tensorflow-cpu"


def function_of(ready: Exportable, context: str) -> Callable:
    """From inputs to a dictionary of outputs, with the lowerings of `context`, not yet traced."""
    graph = lowered(ready.graph, context)

    def infer(*inputs):
        with lowering.traced_for(context):  # For layers that are called as they are.
            return ready.function(graph)(*inputs)

    return infer


def lowered(graph: InferenceGraph, context: str) -> InferenceGraph:
    """The graph with the lowerings that `context` is to have."""
    return graph.with_lowerings(
        {
            step.name: choice.choose_here(step.operation.shape, context, "forward").lowering
            for step in graph.convolutions()
        }
    )
