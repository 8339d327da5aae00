"""A model as one function for inference, in TensorFlow or compiled by XLA.

The exact simplifications of `simplify` (normalisation folded into the
convolutions before it, pixels that nobody reads not computed, ...), weights as
constants, and the lowering of each convolution for where it is to run.
"""

import keras

from keras_roots import lowering
from keras_roots.auxiliary_heads import without_auxiliary_heads
from keras_roots.export.inference_graph import InferenceGraph, inference_graph
from keras_roots.export.simplify import simplify
from keras_roots.lowering import choice
from keras_roots.requirements import require_tensorflow


def inference_function(model: keras.Model, *, jit_compile: bool = True):
    """Makes a function for inference of a model, its weights as they are now.

    Args:
        model: a functional or Sequential model of one image as input, its
            size fixed, channels last, and one output; auxiliary heads are
            left out.
        jit_compile: compile it with XLA, once for each batch size.

    Returns:
        A `tf.function` from float32 images [batch, height, width, channels]
        to what `model(images, training=False)` returns, to rounding.

    Raises:
        ValueError: the model is of another kind, or Keras not on TensorFlow.
    """
    require_tensorflow("An inference function")
    import tensorflow as tf

    accelerated = any(tf.config.list_logical_devices(kind) for kind in ("GPU", "TPU"))
    context = "xla-cpu" if jit_compile else "tensorflow-cpu"
    if accelerated:
        context = "accelerator"
    graph = lowered(model, context)
    shape = graph.shapes[graph.input]

    def infer(images):
        with lowering.traced_for(context):  # For layers that are called as they are.
            return graph(images)

    signature = [tf.TensorSpec((None, *shape), tf.float32, name="images")]
    return tf.function(infer, signature, autograph=False, jit_compile=jit_compile)


def lowered(model: keras.Model, context: str) -> InferenceGraph:
    """The simplified graph of a model, with the lowerings that `context` is to have."""
    model = without_auxiliary_heads(model)
    if any(None in tensor.shape[1:] for tensor in getattr(model, "inputs", None) or ()):
        raise ValueError(
            f"'{model.name}' leaves its image size open. Build it with an input_shape, or call it "
            "on a keras.Input of the size wanted."
        )
    graph = simplify(inference_graph(model))
    return graph.with_lowerings(
        {
            step.name: choice.choose(step.operation.shape, context, "forward").lowering
            for step in graph.convolutions()
        }
    )
