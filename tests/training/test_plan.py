import shutil
from collections import namedtuple

import keras
import pytest

from keras_roots.data import sources
from keras_roots.training import plan
from keras_roots.training.config import Config

CONFIG = Config(batch_size=32, accumulation=2, ema_decay=0.9, keep_checkpoints=3)


@pytest.fixture(scope="module", name="model")
def make_model():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(5, 1)(inputs)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(inputs, keras.layers.Flatten()(x))


def test_memory_is_that_of_weights_and_feature_maps(model):
    weights = (3 * 5 + 5) + 4 * 5
    maps = 4 * 4 * 3 + 3 * (4 * 4 * 5)
    images = 32 // 4 // 2
    # Weights, gradients, momentum, averages.
    assert plan.memory(CONFIG, model, replicas=4) == 4 * 4 * weights + 4 * images * maps


def test_room_for_checkpoints(model, tmp_path, monkeypatch):
    # Weights, momentum and averages; three of the last, the best, one in the making; and models.
    expected = 4 * 40 * 3 * 5 + 3 * 4 * 40
    needs = plan.resources(CONFIG, model, tmp_path / "a" / "b", replicas=1)
    assert needs["disk_needed"] == expected
    assert needs["disk_free"] == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(expected - 1))
    with pytest.raises(ValueError, match="fewer keep_checkpoints"):
        plan.resources(CONFIG, model, tmp_path, replicas=1)


def test_learning_rates_at_some_epochs():
    config = Config(
        dataset="synthetic", epochs=8, warmup_epochs=1, batch_size=256, image_size=8, resize=8
    )
    found = plan.learning_rates(config, sources.open_source(config))
    assert [epoch for epoch, _ in found] == [0, 1, 2, 4, 6, 8]
    assert max(rate for _, rate in found) == pytest.approx(0.1, rel=1e-3)
    assert found[-1][1] < 1e-6
