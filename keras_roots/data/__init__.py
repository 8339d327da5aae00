"""Images with labels: where they are, how they are read, and batches of them."""

from keras_roots.data import arrays, augmentation, images, input_pipeline, sources
from keras_roots.data.arrays import DATASETS, LabelledImages, load
from keras_roots.data.images import (
    PREPROCESSING,
    check_channels,
    check_preprocessing,
    checked_resize,
    default_resize,
    preprocessed,
)
from keras_roots.data.reading import Images
from keras_roots.data.split import Source, Split

__all__ = [
    "DATASETS",
    "PREPROCESSING",
    "Images",
    "LabelledImages",
    "Source",
    "Split",
    "arrays",
    "augmentation",
    "check_channels",
    "check_preprocessing",
    "checked_resize",
    "default_resize",
    "images",
    "input_pipeline",
    "load",
    "preprocessed",
    "sources",
]
