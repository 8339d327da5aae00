"""Whole networks as tf-keras has them, and back: ours, and families of keras.applications."""

import gc

import keras
import pytest

import keras_roots
from keras_roots.compression.legacy import libraries
from tests.round_trips import assert_round_trip, geometry
from tests.sample_models import few_inception_modules, quietly

SIZES = {"alexnet": 67, "googlenet": 80}


@pytest.fixture
def forget():
    """A hundred networks would fill the memory."""
    yield
    keras.backend.clear_session()
    libraries().keras.backend.clear_session()
    gc.collect()


QUICK = ("nin", "googlenet")


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
        for name in keras_roots.list_models()
    ],
)
def test_every_network_of_ours(name, monkeypatch):
    few_inception_modules(monkeypatch)
    size = SIZES.get(name, 64 if name == "nin_imagenet" else 32)
    more = {"auxiliary_heads": True} if name == "googlenet" else {}
    model = keras_roots.build(
        name,
        root=4,
        input_shape=(size, size, 3),
        classes=10,
        classifier_activation=None,
        **more,
    )
    bridge = assert_round_trip(model)
    assert max(groups for groups, _ in geometry(bridge.legacy)) == 4
    kept = [getattr(layer, "kept", None) for layer in bridge.legacy.layers]
    kept = [layer for layer in kept if layer and not isinstance(layer, keras.layers.Dropout)]
    assert len(kept) == 2 * (name == "alexnet")  # Its local response normalisation.


APPLICATIONS = {
    "VGG16": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "Xception": 71,
    "NASNetMobile": 32,
    "ConvNeXtTiny": 32,
}


@pytest.mark.usefixtures("forget")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "MobileNet" else pytest.mark.slow)
        for name in APPLICATIONS
    ],
)
def test_families_of_keras_applications(name):
    size = APPLICATIONS[name]
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        classes=10,
        **({} if name.startswith("NASNet") else {"classifier_activation": None}),
    )
    if not name.startswith(("MobileNet", "EfficientNetB", "NASNet")):  # Nothing to group.
        model = quietly(model, 2)
    assert_round_trip(model, plain=not name.startswith(("Xception", "NASNet")))
