"""What the function for inference consists of; tests/conformance has what it computes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots.export import inference_function
from keras_roots.layers import GroupedConv2D


def images_for(model, batch):
    shape = (batch, *model.input_shape[1:])
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_no_narrow_groups_and_no_normalisation_are_left_under_xla():
    model = keras_roots.RootResNet50(root=64, input_shape=(64, 64, 3))
    graph = inference_function(model).get_concrete_function().graph
    kernels = [each.inputs for each in graph.get_operations() if each.type == "Conv2D"]
    assert kernels
    # Wide ones may stay: 64 channels a group in the last stage.
    assert all(
        images.shape[-1] == kernel.shape[-2] or kernel.shape[-2] >= 64 for images, kernel in kernels
    )
    kinds = {each.type for each in graph.get_operations()}
    assert not kinds & {"FusedBatchNormV3", "Rsqrt", "ReadVariableOp"}


def test_layers_that_are_called_as_they_are_know_where_they_run():
    """One in channels first is none of the graph's convolutions."""
    inputs = keras.Input((8, 8, 8))
    x = keras.layers.Permute((3, 1, 2))(inputs)
    x = GroupedConv2D(8, 3, groups=4, data_format="channels_first")(x)
    model = keras.Model(
        inputs, keras.layers.GlobalAveragePooling2D(data_format="channels_first")(x)
    )
    function = inference_function(model)
    images = images_for(model, 2)
    with tf.device("/CPU:0"):
        np.testing.assert_allclose(function(images), model(images), atol=1e-5)
    graph = function.get_concrete_function().graph
    assert "Conv2D" not in {each.type for each in graph.get_operations()}  # Taps.


def test_auxiliary_heads_are_left_out_and_open_sizes_refused():
    heads = keras_roots.RootGoogLeNet(root=8, auxiliary_heads=True, input_shape=(96, 96, 3))
    images = images_for(heads, 2)
    expected = heads.predict(images, verbose=0)["predictions"]
    np.testing.assert_allclose(inference_function(heads)(images), expected, atol=1e-5)
    model = keras_roots.RootNIN(include_top=False, pooling="avg", input_shape=(None, None, 3))
    with pytest.raises(ValueError, match="leaves it open"):
        inference_function(model)
