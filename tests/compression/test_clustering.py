import keras
import numpy as np
import pytest

from keras_roots.compression import clustering
from keras_roots.compression.clustering import cluster
from keras_roots.compression.fine_tuning import FineTuning
from keras_roots.compression.legacy import libraries
from tests.tiny_networks import (
    CLASSES,
    ENDS,
    GROUPS,
    SIZE,
    as_bytes,
    as_taken,
    classifier,
    easy_images,
    halved,
    kernels,
    of_seven_values,
    trained,
    tuning,
    with_kernels,
)


def test_kernels_have_so_many_values_and_the_others_as_many_as_before():
    before = as_bytes(trained())
    lines = []
    found = cluster(trained(), tuning(epochs=2), clusters=8, report=lines.append)
    assert as_bytes(trained()) == before
    assert [line.partition(":")[0] for line in lines] == [
        "Clustering, epoch 1/2",
        "Clustering, epoch 2/2",
    ]
    assert found.get_config() == trained().get_config()
    for kernel in kernels(found).values():
        assert 4 <= len(np.unique(kernel)) <= 8
    for name, kernel in kernels(found, ENDS).items():
        assert len(np.unique(kernel)) == kernel.size
        assert not np.array_equal(kernel, kernels(trained(), ENDS)[name])
    images, labels = easy_images()
    assert np.mean(np.asarray(found(as_taken(images))).argmax(axis=-1) == labels) > 0.6


def test_each_weight_goes_to_the_nearest_value():
    # As many clusters as the classifier has weights.
    found = cluster(trained(), tuning(learning_rate=0.0), clusters=24, skip=[])
    for name, before in kernels(trained(), [*GROUPS, "first"]).items():
        after = kernels(found, [name])[name]
        values = np.unique(after)
        assert 16 <= len(values) <= 24
        assert set(values) <= set(before.ravel())
        nearest = values[np.abs(before[..., np.newaxis] - values).argmin(axis=-1)]
        assert np.array_equal(after, nearest)
    left = [model.get_layer("classifier") for model in (trained(), found)]
    assert np.array_equal(left[0].kernel, left[1].kernel)


def test_zeros_stay_where_they_were(monkeypatch):
    pruned = with_kernels(trained(), halved, ["spatial2", "spatial4"])
    as_trained = {}
    monkeypatch.setattr(
        clustering, "_check_clustered", lambda name, kernel, _: as_trained.update({name: kernel})
    )
    found = cluster(pruned, tuning(), clusters=6, preserve_sparsity=True)
    for name, before in kernels(pruned).items():
        after = kernels(found, [name])[name]
        assert np.array_equal(after, as_trained[name])
        assert len(np.unique(after)) <= 6
        assert np.all(after[before == 0] == 0)
        assert np.any(after == 0) == (name in ("spatial2", "spatial4"))


def test_no_zeros_to_preserve():
    with pytest.raises(ValueError, match="'tiny' has no zeros to preserve. Prune it first"):
        cluster(trained(), tuning(), preserve_sparsity=True)


def test_a_centroid_follows_the_mean_of_its_weights_gradients():
    images, labels = easy_images()
    rate = 0.5
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, name="dense")(x), name="linear")
    rng = np.random.default_rng(0)
    kernel = rng.choice(np.float32([-0.25, 0.125, 0.5]), (SIZE * SIZE * 3, CLASSES))
    model.set_weights([kernel, np.zeros(CLASSES)])
    once = FineTuning.of_arrays(
        images,
        labels,
        epochs=1,
        batch_size=len(images),
        learning_rate=rate,
        momentum=0.0,
        weight_decay=0.0,
    )
    found = cluster(model, once, clusters=3, skip=[])

    flat = images.reshape(len(images), -1) / 255
    powers = np.exp(flat @ kernel)
    probabilities = powers / powers.sum(axis=-1, keepdims=True)
    gradient = flat.T @ (probabilities - np.eye(CLASSES)[labels]) / len(images)
    expected = kernel.astype(np.float64)
    for value in np.unique(kernel):
        expected[kernel == value] -= rate * gradient[kernel == value].mean()
    assert np.abs(expected - kernel).max() > 1e-3
    np.testing.assert_allclose(found.get_layer("dense").kernel, expected, atol=1e-6)


def test_a_frozen_layer_is_clustered_and_its_bias_stays():
    frozen = keras.layers.Conv2D(4, 3, name="frozen", trainable=False, bias_initializer="ones")
    found = cluster(
        classifier(keras.layers.Conv2D(4, 1, name="first"), frozen), tuning(), clusters=4
    ).get_layer("frozen")
    assert len(np.unique(found.kernel)) <= 4
    assert np.array_equal(found.bias, np.ones(4))
    assert not found.trainable


def test_a_wrapper_that_does_nothing_is_an_error(monkeypatch):
    libraries()
    from tensorflow_model_optimization.python.core.clustering.keras.experimental import (
        cluster as experimental,
    )

    monkeypatch.setattr(experimental, "cluster_weights", lambda layer, *_, **__: layer)
    model = classifier(keras.layers.Conv2D(4, 1, name="first"), keras.layers.Conv2D(4, 3, name="a"))
    with pytest.raises(RuntimeError, match="'a' has 144 values after clustering, where 5 were"):
        cluster(model, tuning(), clusters=5)


def test_why_that_is_looked_at():
    """tensorflow-model-optimization says nothing of a model that it does not know."""
    begin = libraries().tfmot.clustering.keras.CentroidInitialization.LINEAR
    assert libraries().tfmot.clustering.keras.cluster_weights(trained(), 8, begin) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clusters": 1}, "from 2 to 255, the values that a kernel's weights have. Received: 1$"),
        ({"clusters": 256}, "from 2 to 255.*Received: 256"),
        ({"clusters": 2.5}, "from 2 to 255.*Received: 2.5"),
        ({"clusters": True}, "from 2 to 255.*Received: True"),
        (
            {"clusters": 2, "preserve_sparsity": True},
            "from 3 to 255.*zero one of them.*Received: 2",
        ),
        ({"skip": ["mix3"]}, "'tiny' has no layer 'mix3' with a kernel; it has mix2, "),
        ({"skip": [*GROUPS, *ENDS]}, "No layer of 'tiny' is left to compress"),
    ],
)
def test_what_is_asked_for_in_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        cluster(with_kernels(trained(), of_seven_values), tuning(), **arguments)


def test_images_of_another_size():
    inputs = keras.Input((9, 9, 3))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)), name="nine")
    with pytest.raises(ValueError, match=r"'nine' takes \(9, 9, 3\)"):
        cluster(model, tuning())
