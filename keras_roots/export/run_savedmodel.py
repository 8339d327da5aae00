"""Runs a SavedModel with TensorFlow alone: run_savedmodel.py FOLDER INPUTS.npz OUTPUTS.npz"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

if __name__ == "__main__":
    folder, inputs, outputs = sys.argv[1:]
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    with np.load(inputs, allow_pickle=False) as arrays:
        made = serve(**{name: tf.constant(array) for name, array in arrays.items()})
    np.savez(outputs, **{name: tensor.numpy() for name, tensor in made.items()})
