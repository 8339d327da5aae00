"""SavedModels for TensorFlow and TensorFlow Serving, compiled by XLA or not, verified.

Their signature "serving_default" takes any number of examples and holds the model as
`inference_function` makes it, weights as constants. Labels and metadata are in assets.extra/, and
so are requests with which TensorFlow Serving warms up before it says that it is ready.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from keras_roots.export import attachments, metadata, warmup
from keras_roots.export.artifact import ON_GPU, Artifact, check, compare
from keras_roots.export.exportable import Inputs, check_labels, exportable
from keras_roots.export.inference_function import Target, context_of, function_of
from keras_roots.export.preprocessing import Preprocessing
from keras_roots.export.separately import run_separately
from keras_roots.reporting import refuse_existing, replacing_folder, silent

_USAGE = """\
import tensorflow as tf

serve = tf.saved_model.load({path!r}).signatures["serving_default"]
outputs = serve({inputs})  # float32 tensors, [batch, ...]; returns {outputs}"""


def export_savedmodel(
    model: keras.Model,
    path: str | os.PathLike,
    images: Inputs,
    *,
    jit_compile: bool = True,
    target: Target | None = None,
    preprocessing: str | Preprocessing = "none",
    labels: Sequence[str] | None = None,
    batches: Sequence[int] = (1,),
    tolerance: float | None = None,
    overwrite: bool = True,
    report: Callable[[str], object] = silent,
) -> Artifact:
    """Writes a SavedModel, once another process has loaded it and computes what Keras does.

    Args:
        model, images, preprocessing, labels, tolerance, report: as of
            `export_tflite`.
        path: of the folder to write.
        jit_compile: compiled by XLA, once for each batch size.
        target: "cpu" or "gpu", for which lowerings are chosen; by default what
            this machine has. What is for a GPU is verified on one if there is
            one, and on the CPU if not.
        batches: sizes of the requests to warm up with.
        overwrite: whether an existing folder may be replaced; it is only after
            the verification.

    Raises:
        ValueError: the model or an argument is not as above.
        RuntimeError: it cannot be loaded, or does not compute what the model
            does; nothing is written.
        FileExistsError: the folder is there, and is not to be replaced.
        FileNotFoundError: the folder that is to hold it does not exist.
    """
    if not overwrite:
        refuse_existing(path)
    if not batches or min(batches) < 1:
        raise ValueError(f"Expected batches of 1 or more. Received: {list(batches)}")
    context = context_of(jit_compile=jit_compile, target=target)
    ready = exportable(model, images, preprocessing, "The export of a SavedModel")
    check_labels(labels, ready)
    import tensorflow as tf

    infer = function_of(ready, context)
    with replacing_folder(path) as temporary:
        report(f"tracing '{ready.model.name}'")
        function = tf.function(
            infer, ready.specs(None), autograph=False, jit_compile=jit_compile
        ).get_concrete_function()
        holder = tf.Module()
        # Of layers that are called as they are; others' weights are constants of the function,
        # which would be written twice if the module held it, too.
        holder.variables_to_save = ready.variables if function.graph.captures else []
        report("writing the SavedModel")
        tf.saved_model.save(holder, str(temporary), signatures=function)
        report("verifying it in another process")
        on_gpu = context == "accelerator" and bool(tf.config.list_physical_devices("GPU"))
        outputs = run_separately(
            "tensorflow", temporary, ready.named(ready.inputs), on_cpu=not on_gpu
        )
        actual = ready.in_order(outputs)
        check(actual, ready.expected, "float32", tolerance or (ON_GPU if on_gpu else None))
        kernels, device = "XLA" if jit_compile else "its own kernels", "GPU" if on_gpu else "CPU"
        runtime = f"TensorFlow ({kernels}, {device}), in another process"
        comparison = compare(actual, ready.expected, runtime)
        attached = metadata.metadata(
            ready,
            precision="float32",
            batch=None,
            comparison=comparison,
            labels=labels,
            context=context,
        )
        extra = temporary / "assets.extra"
        extra.mkdir()
        for name, text in attachments.texts(attached, labels).items():
            (extra / name).write_text(text, encoding="utf-8")
        warmup.write(extra, ready.named(ready.inputs), batches, ready.model.name)
        size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
    inputs = ", ".join(f"{name}={name}" for name in ready.input_names)
    return Artifact(
        path=Path(path),
        format="xla" if jit_compile else "savedmodel",
        precision="float32",
        size=size,
        comparison=comparison,
        metadata=attached,
        notes=(f"requests to warm TensorFlow Serving up with are of batch {_listed(batches)}",),
        usage=_USAGE.format(
            path=str(path), inputs=inputs, outputs=f"a dictionary of {_listed(ready.output_names)}"
        ),
    )


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))
