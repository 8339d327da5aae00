"""Pruning, clustering, quantisation-aware training and distillation of Keras 3 networks.

    tuning = FineTuning.of(training.from_file("runs/r16/config.json"), epochs=2)
    pruned = prune(model, tuning, sparsity=0.5)
    both = cluster(pruned, tuning, clusters=16, preserve_sparsity=True)
    quantize_aware(both, tuning, "model.tflite", images, preserve="both")

`compress` does all of it, makes TFLite files and compares them; from the
command line: `keras-roots compress`. tensorflow-model-optimization does the
work; it knows Keras 2 only, to which and back networks are brought on the way
(see `bridge`).
"""

from keras_roots.compression.clustering import cluster
from keras_roots.compression.distillation import distill
from keras_roots.compression.fine_tuning import FineTuning
from keras_roots.compression.job import HeldOut, compress
from keras_roots.compression.pruning import prune
from keras_roots.compression.quantization import QuantizedNetwork, quantize_aware
from keras_roots.compression.recipe import Recipe
from keras_roots.compression.results import Results
from keras_roots.compression.sensitivity import Sensitivity, scan
from keras_roots.compression.tuned import tune

__all__ = [
    "FineTuning",
    "HeldOut",
    "QuantizedNetwork",
    "Recipe",
    "Results",
    "Sensitivity",
    "cluster",
    "compress",
    "distill",
    "prune",
    "quantize_aware",
    "scan",
    "tune",
]
