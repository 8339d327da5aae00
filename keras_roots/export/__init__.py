"""Models in the form that they run fastest in: verified files, and functions."""

from keras_roots.export import calibration
from keras_roots.export.artifact import Artifact
from keras_roots.export.inference_function import inference_function
from keras_roots.export.onnx import export_onnx
from keras_roots.export.preprocessing import Preprocessing
from keras_roots.export.savedmodel import export_savedmodel
from keras_roots.export.stablehlo import export_stablehlo
from keras_roots.export.tflite import export_tflite

__all__ = [
    "Artifact",
    "Preprocessing",
    "calibration",
    "export_onnx",
    "export_savedmodel",
    "export_stablehlo",
    "export_tflite",
    "inference_function",
]
