"""Every network at full size in every precision; tests/conformance has them tiny."""

import gc

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots.export import export_tflite
from keras_roots.export.convert import PRECISIONS
from keras_roots.export.flatbuffer import operators
from tests.sample_models import randomized, with_statistics

# The smallest images that a network takes; the depth of its feature maps is what matters here.
SIZES = {"alexnet": 67, "nin": 32, "nin_imagenet": 64}


def grouped_layers(model):
    return sum(getattr(layer, "groups", 1) > 1 for layer in model.layers)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", keras_roots.list_models())
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
    with_statistics(randomized(model), images)
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
