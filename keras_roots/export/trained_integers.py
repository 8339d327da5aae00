"""int8 TFLite files of networks that were trained with their rounding."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_roots.export.artifact import Artifact
from keras_roots.export.convert import convert
from keras_roots.export.converted_file import ConvertedFile
from keras_roots.export.exportable import Inputs, check_labels, exportable
from keras_roots.export.inference_graph import inference_graph
from keras_roots.export.operator_check import check_operators
from keras_roots.export.preprocessing import Preprocessing
from keras_roots.export.real_operators import with_real_operators
from keras_roots.reporting import refuse_existing, replacing, silent
from keras_roots.requirements import require_extras


def export_trained_integers(
    model: keras.Model,
    path: str | os.PathLike,
    images: Inputs,
    *,
    infer: Callable,
    variables: Sequence[Any],
    gives_scores: bool,
    preprocessing: str | Preprocessing = "none",
    labels: Sequence[str] | None = None,
    tolerance: float | None = None,
    overwrite: bool = True,
    report: Callable[[str], object] = silent,
) -> Artifact:
    """Writes an int8 TFLite file of a network that was trained with its rounding.

    Its ranges are those that the training has found; grouped convolutions are
    LiteRT's builtin. It is compared with the trained network, rounding
    included.

    Args:
        model: of Keras 3, with the weights that were trained.
        path, images, preprocessing, labels, tolerance, overwrite, report: as
            of `export_tflite`.
        infer: the trained network as a function of TensorFlow, whose
            operators of fake quantisation say the ranges.
        variables: those that it reads.
        gives_scores: whether it lacks the softmax at the model's end.

    Raises:
        As `export_tflite`.
    """
    require_extras("The export to TFLite", {"ai_edge_litert": "litert"})
    if not overwrite:
        refuse_existing(path)
    ready = exportable(model, images, preprocessing, "The export to TFLite")
    check_labels(labels, ready)
    expected = tuple(np.asarray(each) for each in keras.tree.flatten(infer(*ready.inputs)))
    with replacing(path) as temporary:
        report(f"converting '{ready.model.name}' to TFLite, int8 as it was trained")

        def function(*inputs):
            return dict(zip(ready.output_names, keras.tree.flatten(infer(*inputs)), strict=True))

        content = convert(
            function, ready.specs(1), name=model.name, variables=variables, precision="dynamic"
        )
        check_operators(content, inference_graph(ready.model))
        content = with_real_operators(content)
        finished = ConvertedFile(
            ready, content, expected, "int8", gives_scores, interface="float32", tolerance=tolerance
        )
        return finished.written(
            temporary,
            path,
            labels=labels,
            batch=1,
            notes=("ranges of activations are those that its training has found",),
            lowering="native",
        )
