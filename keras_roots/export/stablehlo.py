"""StableHLO files that JAX runs, on CPU or GPU, without TensorFlow; verified.

TensorFlow's lowering of the model as `inference_function` makes it, in the form of `jax.export`:
portable StableHLO, kept readable by later versions. Of one batch size.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from keras_roots.export import attachments, metadata
from keras_roots.export.artifact import ON_GPU, Artifact, check, compare
from keras_roots.export.exportable import Inputs, check_labels, exportable
from keras_roots.export.inference_function import Target, context_of, function_of
from keras_roots.export.preprocessing import Preprocessing
from keras_roots.export.separately import run_separately
from keras_roots.reporting import refuse_existing, replacing, silent
from keras_roots.requirements import require_extras

_USAGE = """\
import pathlib

import jax

exported = jax.export.deserialize(bytearray(pathlib.Path({path!r}).read_bytes()))
outputs = exported.call({inputs})  # {shapes}; returns {outputs}"""
_PLATFORMS = {"cpu": ["cpu"], "gpu": ["cuda"]}


def export_stablehlo(
    model: keras.Model,
    path: str | os.PathLike,
    images: Inputs,
    *,
    target: Target = "cpu",
    preprocessing: str | Preprocessing = "none",
    labels: Sequence[str] | None = None,
    batch: int = 1,
    tolerance: float | None = None,
    overwrite: bool = True,
    report: Callable[[str], object] = silent,
) -> Artifact:
    """Writes a StableHLO file, once JAX computes what Keras does, in another process.

    Args:
        model, images, preprocessing, labels, batch, tolerance, overwrite,
            report: as of `export_tflite`.
        path: of the file to write, conventionally `*.stablehlo`.
        target: "cpu", or "gpu" (CUDA). For a GPU the same function is verified
            as compiled for the CPU, unless JAX has a GPU here.

    Raises:
        ValueError: the model or an argument is not as above.
        RuntimeError: it cannot be loaded, or does not compute what the model
            does; nothing is written.
        ModuleNotFoundError: the extra "xla" is not installed.
        FileExistsError: the file is there, and is not to be replaced.
        FileNotFoundError: the folder of `path` does not exist.
    """
    require_extras("The export of StableHLO", {"jax": "xla"})
    if not overwrite:
        refuse_existing(path)
    if batch < 1:
        raise ValueError(f"Expected batch of 1 or more. Received: {batch}")
    context = context_of(jit_compile=True, target=target)
    ready = exportable(model, images, preprocessing, "The export of StableHLO")
    check_labels(labels, ready)
    infer = function_of(ready, context)
    with replacing(path) as temporary:
        report(f"lowering '{ready.model.name}' to StableHLO")
        platforms = _PLATFORMS[target]
        content = _exported(infer, ready.specs(batch), platforms)
        here = "cpu" if target == "cpu" or not _has_gpu() else "gpu"
        temporary.write_bytes(
            content if here == target else _exported(infer, ready.specs(batch), ["cpu"])
        )
        report("verifying it in another process")
        outputs = run_separately("jax", temporary, ready.named(ready.inputs), on_cpu=here == "cpu")
        actual = ready.in_order(outputs)
        check(actual, ready.expected, "float32", tolerance or (ON_GPU if here == "gpu" else None))
        runtime = f"JAX ({here.upper()}), in another process"
        comparison = compare(actual, ready.expected, runtime)
        attached = metadata.metadata(
            ready,
            precision="float32",
            batch=batch,
            comparison=comparison,
            labels=labels,
            context=context,
            platforms=platforms,
        )
        content = attachments.attach(content, attached, labels)
        temporary.write_bytes(content)
    notes = [f"it is of batch {batch}, for {', '.join(platforms)}"]
    if here != target:
        notes.append("there is no GPU here: the same function was verified as compiled for the CPU")
    shapes = ", ".join(f"{name}: float32 {[batch, *shape]}" for name, shape in zip(
        ready.input_names, ready.graph.input_shapes, strict=True))  # fmt: skip
    return Artifact(
        path=Path(path),
        format="stablehlo",
        precision="float32",
        size=len(content),
        comparison=comparison,
        metadata=attached,
        notes=tuple(notes),
        usage=_USAGE.format(
            path=str(path),
            inputs=", ".join(ready.input_names),
            shapes=shapes,
            outputs=f"a dictionary of {', '.join(ready.output_names)}",
        ),
    )


def _exported(function: Callable, specs: Sequence, platforms: Sequence[str]) -> bytes:
    import jax
    import tensorflow as tf
    from jax.experimental import jax2tf

    traced = tf.function(function, input_signature=list(specs), autograph=False, jit_compile=True)
    called = jax.jit(jax2tf.call_tf(traced, has_side_effects=False))
    # On the CPU, whatever there is: nothing is computed here, and a GPU's memory is left alone.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        exported = jax.export.export(called, platforms=platforms)(
            *(jax.ShapeDtypeStruct(spec.shape, spec.dtype.as_numpy_dtype) for spec in specs)
        )
    return bytes(exported.serialize())


def _has_gpu() -> bool:
    import jax

    try:
        return bool(jax.devices("gpu"))
    except RuntimeError:
        return False
