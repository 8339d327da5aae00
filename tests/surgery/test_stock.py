import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots.layers import GroupedConv2D
from keras_roots.layers.initializers import CompoundHeNormal


def test_adapted_normalisation():
    images = np.random.default_rng(0).normal(5, 3, size=(50, 8, 8, 4)).astype(np.float32)
    normalization = keras.layers.Normalization()
    normalization.adapt(images)
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, GroupedConv2D(4, 3, groups=2)(normalization(inputs)))
    np.testing.assert_allclose(
        keras_roots.to_stock(model).predict(images, verbose=0),
        model.predict(images, verbose=0),
        atol=1e-5,
    )


def test_nested_models_and_wrapped_layers():
    block = keras.Sequential([GroupedConv2D(4, 3, groups=2, name="inner")], name="block")
    frames = keras.Input((2, 8, 8, 4))
    x = keras.layers.TimeDistributed(GroupedConv2D(4, 3, groups=2), name="frames")(frames)
    model = keras.Model(frames, block(keras.layers.Reshape((12, 6, 4))(x)))
    stock = keras_roots.to_stock(model)
    assert type(stock.get_layer("frames").layer) is keras.layers.Conv2D
    assert type(stock.get_layer("block").get_layer("inner")) is keras.layers.Conv2D
    images = np.random.default_rng(0).normal(size=(1, 2, 8, 8, 4)).astype(np.float32)
    np.testing.assert_allclose(
        stock.predict(images, verbose=0), model.predict(images, verbose=0), atol=1e-5
    )


def test_loads_where_this_package_is_not_imported(tmp_path):
    initializer = CompoundHeNormal([(3, 3, 8), (1, 1, 4)])
    inputs = keras.Input((32, 32, 3))
    branch = keras.layers.Conv2D(8, 3, padding="same", kernel_initializer=initializer)(inputs)
    network = keras_roots.RootNIN(root=8, input_tensor=keras.layers.Conv2D(3, 1)(branch))
    path = tmp_path / "stock.keras"
    keras_roots.to_stock(network).save(path)
    program = (
        "import sys, keras; keras.models.load_model(sys.argv[1], safe_mode=True); "
        "sys.exit('keras_roots' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True, cwd=tmp_path)


def test_what_cannot_be_converted():
    with pytest.raises(ValueError, match="Expected a Keras model"):
        keras_roots.to_stock("model.keras")
    with pytest.raises(ValueError, match="has not been built"):
        keras_roots.to_stock(keras.Sequential([keras.layers.Dense(2)]))

    class Subclassed(keras.Model):
        def call(self, x):
            return x

    model = Subclassed()
    model(np.zeros((1, 2)))
    with pytest.raises(ValueError, match="functional or Sequential model. Received.*subclassed"):
        keras_roots.to_stock(model)
