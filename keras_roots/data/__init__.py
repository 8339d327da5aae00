"""Images with labels: where they are, how they are read, and batches of them."""

from keras_roots.data.labelled import DATASETS, LabelledImages, load

__all__ = ["DATASETS", "LabelledImages", "load"]
