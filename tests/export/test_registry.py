"""Every network in every precision: it converts, agrees with Keras, and XNNPACK runs all of it."""

import gc

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots.export import export_tflite
from keras_roots.export.convert import PRECISIONS
from keras_roots.export.flatbuffer import operators
from tests.sample_models import randomized

# The smallest images that a network takes; the depth of its feature maps is what matters here.
SIZES = {"alexnet": 67, "nin": 32, "nin_imagenet": 64}
QUICK = {("nin", "int8"), ("nin", "float16")}
CASES = [
    pytest.param(
        name,
        precision,
        marks=[] if (name, precision) in QUICK else pytest.mark.slow,
        id=f"{name}-{precision}",
    )
    for name in keras_roots.list_models()
    for precision in PRECISIONS
]


def grouped_layers(model):
    return sum(getattr(layer, "groups", 1) > 1 for layer in model.layers)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_every_network_in_every_precision(tmp_path, name, precision):
    # A hundred networks would fill the memory.
    keras.backend.clear_session()
    gc.collect()
    size = SIZES.get(name, 64)
    keras.utils.set_random_seed(0)
    model = keras_roots.build(
        name, root=4, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    images = np.random.default_rng(0).normal(size=(34, size, size, 3)).astype(np.float32)
    randomized(model)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)  # Statistics as after training, though not the weights.
    artifact = export_tflite(
        model,
        tmp_path / "model.tflite",
        images[:2],
        precision=precision,
        calibration=images[2:],
        lowering="native",
    )
    kinds = [operator.kind for operator in operators(artifact.path.read_bytes())]
    assert not [kind for kind in kinds if kind.startswith("CUSTOM")]
    groups = [operator.groups or 1 for operator in operators(artifact.path.read_bytes())]
    assert sum(each > 1 for each in groups) == grouped_layers(model) > 0
    if precision == "int8x16":
        assert artifact.outside["CONV_2D"] == kinds.count("CONV_2D")
    else:
        assert (artifact.delegates, artifact.outside) == (1, {})
