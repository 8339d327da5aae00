import gzip

import keras
import numpy as np
import pytest

from keras_roots import export
from keras_roots.compression.weights import kernels_of, weights_of_file
from keras_roots.layers import GroupedConv2D

SIZE = 8


def known(rng, shape):
    """Of few values, some of them 0; each filter's largest is the same."""
    integers = rng.choice([-127, -90, -4, 0, 51], shape)
    integers.reshape(-1, shape[-1])[0] = 127
    return (integers / 512).astype(np.float32)


def network(kernels):
    """With each kind of kernel, a grouped and a shared one among them."""
    shared = keras.layers.Conv2D(4, 1, name="shared")
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(inputs)
    x = GroupedConv2D(4, 3, groups=2, padding="same", activation="relu", name="grouped")(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="depthwise")(x)
    x = shared(keras.layers.ReLU()(shared(keras.layers.Conv2D(4, 1, name="before")(x))))
    x = keras.layers.Dense(3, name="dense")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, x, name="kinds")
    for name, kernel in kernels.items():
        model.get_layer(name).kernel.assign(kernel)
    return model


@pytest.fixture(scope="module", name="kernels")
def make_kernels():
    """By the names of layers, in the order of the file."""
    rng = np.random.default_rng(0)
    return {
        "first": known(rng, (3, 3, 3, 4)),
        "grouped": known(rng, (3, 3, 2, 4)),
        "depthwise": rng.choice([-1.0, 0, 0.25], (3, 3, 4, 2)).astype(np.float32),
        "before": known(rng, (1, 1, 8, 4)),
        "shared": known(rng, (1, 1, 4, 4)),
        "dense": known(rng, (4, 3)),
    }


def filters_of(kernels):
    """Each kernel as [filters, weights]."""
    return [
        kernel.reshape(9, 8).T if name == "depthwise" else kernel.reshape(-1, kernel.shape[-1]).T
        for name, kernel in kernels.items()
    ]


def check(found, path, filters):
    assert found.size == path.stat().st_size
    assert found.gzip_size == len(gzip.compress(path.read_bytes(), 9, mtime=0)) < found.size
    values = [len(set(kernel.ravel().tolist())) for kernel in filters]
    per_filter = [np.median([len(set(row.tolist())) for row in kernel]) for kernel in filters]
    nonzero = [int((kernel != 0).sum()) for kernel in filters]
    assert [kernel.size for kernel in found.kernels] == [kernel.size for kernel in filters]
    assert [kernel.values for kernel in found.kernels] == values
    assert [kernel.filter_values for kernel in found.kernels] == per_filter
    assert [kernel.nonzero for kernel in found.kernels] == nonzero
    assert found.nonzero == sum(nonzero)
    assert found.median_values == np.median(values)
    assert found.median_filter_values == np.median(per_filter)
    assert found.grouped == 1


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_files(precision, kernels, tmp_path):
    path = tmp_path / "kinds.tflite"
    images = np.random.default_rng(1).uniform(0, 1, (32, SIZE, SIZE, 3)).astype(np.float32)
    how = {"precision": precision, "lowering": "native"}
    if precision == "int8":
        how["calibration"] = images
    export.export_tflite(network(kernels), path, images[:2], **how)
    expected = filters_of(kernels)
    if precision == "float16":
        expected = [kernel.astype(np.float16) for kernel in expected]
    if precision == "int8":
        largest = [np.abs(kernel).max(axis=1, keepdims=True) for kernel in expected]
        expected = [np.rint(127 / m * kernel) for m, kernel in zip(largest, expected, strict=True)]
    found = kernels_of(path.read_bytes())
    assert len(set(found)) == len(expected)
    assert {str(kernel.dtype) for kernel in found.values()} == {precision}
    for (name, kernel), ours, theirs in zip(kernels.items(), found.values(), expected, strict=True):
        assert np.array_equal(ours.reshape(theirs.shape), theirs)
        *window, channels, filters = kernel.shape
        shape = (8, 1, 3, 3) if name == "depthwise" else (filters, *window, channels)
        assert ours.shape == shape
    check(weights_of_file(path), path, expected)


def test_kernels_that_are_computed_are_none(tmp_path):
    class Correlated(keras.Layer):
        def call(self, x):
            maps = keras.ops.reshape(x, (3, 64))
            others = keras.ops.transpose(1.0 - maps)
            return keras.ops.reshape(keras.ops.matmul(maps, others), (1, 9))

    inputs = keras.Input((SIZE, SIZE, 3), batch_size=1)
    model = keras.Model(inputs, keras.layers.Dense(2)(Correlated()(inputs)))
    path = tmp_path / "a.tflite"
    artifact = export.export_tflite(model, path, np.ones((1, SIZE, SIZE, 3), np.float32))
    assert artifact.operators["FULLY_CONNECTED"] == 2
    (kernel,) = kernels_of(path.read_bytes()).values()
    assert np.array_equal(kernel, np.asarray(model.layers[-1].kernel).T)


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        weights_of_file(tmp_path / "a.tflite")
