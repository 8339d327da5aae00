"""A run of some seconds, and what of it can be compared."""

import csv

import keras

from keras_roots.training import Config


def digits_config(folder, **values):
    """Of `sample_images.digit_folders`, in 2 epochs."""
    common = {
        **{"name": "digits", "model": "nin", "image_size": 16, "resize": 18},
        **{"mean": (60, 60, 60), "std": (90, 90, 90), "data_dir": str(folder), "mirror": False},
        **{"epochs": 2, "batch_size": 8, "base_batch_size": 8, "learning_rate": 0.02},
        "warmup_epochs": 0,
    }
    return Config(**{**common, **values})


def rows(folder):
    """The epochs of a work directory but for their speed."""
    with (folder / "history.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name != "images_per_second"}
            for row in csv.DictReader(file)
        ]


def weights(folder):
    return keras.models.load_model(folder / "model.keras", safe_mode=True).get_weights()
