"""The same network under OpenVINO and ONNX Runtime, for comparison: the extra "runtimes"."""

import tempfile
from collections.abc import Callable

import keras
import numpy as np

from keras_roots.benchmark.measured import random_images, require_one_of
from keras_roots.requirements import require_extras

RUNTIMES = ("openvino", "onnxruntime")
_TOLERANCE = 1e-4  # Of the largest difference to Keras, relative to its largest output.


def require_runtime(runtime: str) -> None:
    """Raises unless it is known and installed."""
    require_one_of("runtime", runtime, RUNTIMES)
    modules = [runtime] if runtime == "openvino" else [runtime, "tf2onnx"]
    require_extras(f"The comparison with {runtime}", dict.fromkeys(modules, "runtimes"))


def inference(model: keras.Model, runtime: str, *, threads: int) -> Callable[[], object]:
    """A function that runs the model on a random image, in float32 and batch 1.

    Args:
        model: of one image as input, its size fixed.
        runtime: one of `RUNTIMES`.
        threads: of the runtime.

    Raises:
        RuntimeError: the runtime does not compute what Keras does.
    """
    require_runtime(runtime)
    shape = model.inputs[0].shape[1:]
    image = random_images(1, shape)
    make = {"openvino": _openvino, "onnxruntime": _onnxruntime}[runtime]
    run = make(model, shape, threads)
    expected = np.asarray(model.predict(image, verbose=0))
    difference = np.abs(run(image) - expected).max()
    if not difference <= _TOLERANCE * np.abs(expected).max():
        raise RuntimeError(f"{runtime} differs from Keras by {difference:.3g}")
    return lambda: run(image)


def _function(model: keras.Model, shape: tuple[int, ...]):
    import tensorflow as tf

    from keras_roots import lowering

    function = tf.function(
        lambda images: model(images, training=False),
        input_signature=[tf.TensorSpec((1, *shape), tf.float32, name="images")],
        autograph=False,
    )
    with lowering.forced("native"):
        traced = function.get_concrete_function()
    return function, traced


def _openvino(model: keras.Model, shape: tuple[int, ...], threads: int) -> Callable:
    import openvino
    import tensorflow as tf

    holder = tf.Module()
    holder.variables_to_save = [variable.value for variable in model.variables]
    holder.function, traced = _function(model, shape)
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(holder, folder, signatures={"serving_default": traced})
        network = openvino.convert_model(folder)
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(network, "CPU", settings)
    request = compiled.create_infer_request()
    return lambda image: next(iter(request.infer({0: image}).values()))


def _onnxruntime(model: keras.Model, shape: tuple[int, ...], threads: int) -> Callable:
    import onnxruntime
    import tf2onnx

    function, _ = _function(model, shape)
    network, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=17
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Its threads would go on spinning in the turns of others.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        network.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0]
