"""Models in the form that they run fastest in: verified files, and functions."""

from keras_roots.export.inference_function import inference_function
from keras_roots.export.tflite import TFLiteArtifact, export_tflite

__all__ = ["TFLiteArtifact", "export_tflite", "inference_function"]
