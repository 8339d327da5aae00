"""A model or a TFLite file on images: what it sees, and how often it is right."""

from keras_roots.classify import evaluation, intervals
from keras_roots.classify.classifier import Classifier
from keras_roots.classify.prediction import predict
from keras_roots.classify.tflite_classifier import TFLiteClassifier

__all__ = [
    "Classifier",
    "TFLiteClassifier",
    "evaluation",
    "intervals",
    "predict",
]
