"""Models as files that other runtimes load, each verified before it takes its name."""

from keras_roots.export.tflite import TFLiteArtifact, export_tflite

__all__ = ["TFLiteArtifact", "export_tflite"]
