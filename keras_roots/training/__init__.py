"""Training at the scale of ImageNet: many GPUs, many machines, interrupted at any moment.

    config = Config(model="resnet50", root="16", data_dir="imagenet", strategy="mirrored")
    train_and_evaluate(config, "runs/resnet50-root16")

The same from the command line: examples/train_imagenet.py.
"""

from keras_roots.training.checkpoints import NotWrittenError
from keras_roots.training.config import Config
from keras_roots.training.loop import DivergedError, Interrupted, train_and_evaluate

__all__ = ["Config", "DivergedError", "Interrupted", "NotWrittenError", "train_and_evaluate"]
