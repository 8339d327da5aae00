import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_roots.compression import pruning
from keras_roots.compression.pruning import prune
from tests.tiny_networks import (
    ENDS,
    GROUPS,
    as_bytes,
    as_taken,
    classifier,
    easy_images,
    kernels,
    trained,
    tuning,
)

SIZES = {"first": 216, "spatial2": 288, "mix2": 64, "spatial4": 144, "classifier": 24}


def zeros(kernel):
    return int(np.sum(kernel == 0))


def kept_by_numpy(size, sparsity):
    return max(int(np.round(np.float32(size) * np.float32(1 - sparsity))), 1)


@pytest.fixture(scope="module", name="pruned")
def prune_most():
    before = as_bytes(trained())
    lines = []
    found = prune(trained(), tuning(epochs=2), sparsity=0.7, report=lines.append)
    assert as_bytes(trained()) == before
    assert [line.partition(":")[0] for line in lines] == [
        "Pruning, epoch 1/2",
        "Pruning, epoch 2/2",
    ]
    return found


def test_so_many_weights_of_each_kernel_are_zero(pruned):
    for name, kernel in kernels(pruned).items():
        assert kernel.size == SIZES[name]
        assert zeros(kernel) == kernel.size - kept_by_numpy(kernel.size, 0.7)


def test_the_first_convolution_and_the_classifier_are_left_alone(pruned):
    for name in ENDS:
        assert zeros(kernels(pruned, [name])[name]) == 0


def test_the_others_were_trained(pruned):
    for ours, theirs in zip(pruned.trainable_weights, trained().trainable_weights, strict=True):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert ours.shape == theirs.shape
        assert np.all(ours[ours != 0] != theirs[ours != 0])
    images, labels = easy_images()
    right = np.asarray(pruned(as_taken(images))).argmax(axis=-1) == labels
    assert right.mean() > 0.6


def test_the_copy_is_the_same_network_and_can_be_loaded(pruned, tmp_path):
    assert pruned.get_config() == trained().get_config()
    pruned.save(tmp_path / "pruned.keras")
    loaded = keras.models.load_model(tmp_path / "pruned.keras", safe_mode=True)
    assert as_bytes(loaded) == as_bytes(pruned)
    images = as_taken(easy_images(4)[0])
    assert np.array_equal(loaded(images), pruned(images))


def test_it_is_the_smallest_that_go():
    found = prune(trained(), tuning(learning_rate=0.0), sparsity=0.3, schedule="constant", skip=[])
    for name in SIZES:
        before, after = (kernels(model, [name])[name] for model in (trained(), found))
        kept = kept_by_numpy(before.size, 0.3)
        threshold = np.sort(np.abs(before), axis=None)[before.size - kept]
        assert np.array_equal(after, np.where(np.abs(before) < threshold, 0, before))
        assert zeros(after) == before.size - kept


def test_a_weight_is_left():
    found = prune(classifier(), tuning(), sparsity=0.999, schedule="constant", skip=[])
    assert zeros(np.asarray(found.get_layer("classifier").kernel)) == 8


def test_two_of_four_neighbours():
    found = prune(trained(), tuning(learning_rate=0.0), schedule="2:4", skip=[])
    left_alone = set()
    for name in SIZES:
        before, after = (kernels(model, [name])[name] for model in (trained(), found))
        channels = before.shape[-2]
        if channels < 4:
            assert np.array_equal(before, after)
            left_alone.add(name)
            continue
        expected = before.copy()
        for *place, output in np.ndindex(*before.shape[:-2], channels // 4, before.shape[-1]):
            *pixel, block = place
            neighbours = expected[(*pixel, slice(4 * block, 4 * block + 4), output)]
            neighbours[np.argsort(np.abs(neighbours))[:2]] = 0
        assert np.array_equal(after, expected)
        assert zeros(after) == after.size // 2
    assert left_alone == {"first", "spatial4"}


def test_two_of_four_where_no_kernel_has_four_channels():
    model = classifier(*[keras.layers.Conv2D(3, 3, name=f"conv{n}") for n in range(3)])
    with pytest.raises(ValueError, match="No kernel of 'small' has a multiple of 4 input channels"):
        prune(model, tuning(), schedule="2:4")


def test_nested_shared_and_frozen_layers():
    inner = keras.Input((8, 8, 4))
    shared = keras.layers.Conv2D(4, 3, padding="same", name="shared")
    frozen = keras.layers.Conv2D(4, 3, name="frozen", trainable=False)
    x = keras.layers.Conv2D(4, 1, name="left")(shared(keras.layers.ReLU()(shared(inner))))
    block = keras.Model(inner, frozen(x), name="block")
    model = classifier(keras.layers.Conv2D(4, 1, name="first"), block)
    found = prune(
        model, tuning(), sparsity=0.5, skip=["first", "block/left", "classifier"]
    ).get_layer("block")
    counts = {
        layer.name: zeros(np.asarray(layer.kernel)) for layer in found.layers if layer.weights
    }
    assert counts == {"shared": 72, "left": 0, "frozen": 72}
    kernel = np.asarray(found.get_layer("frozen").kernel)
    assert np.array_equal(kernel[kernel != 0], np.asarray(frozen.kernel)[kernel != 0])
    assert not found.get_layer("frozen").trainable


def test_updates_that_do_not_reach_the_schedules_end(monkeypatch):
    monkeypatch.setattr(pruning, "_PART", 3.0)
    model = classifier(keras.layers.Conv2D(4, 1, name="first"), keras.layers.Conv2D(4, 3, name="a"))
    wanted = r"of the 144 weights of 'a' are 0 .* fewer than 90%: there were too few updates"
    with pytest.raises(RuntimeError, match=wanted):
        prune(model, tuning(), sparsity=0.9)


@given(st.floats())
def test_only_shares_of_weights_are_sparsities(sparsity):
    if 0 < sparsity < 1:
        pruning.check(sparsity, "constant")
    else:
        with pytest.raises(ValueError, match="sparsity above 0 and below 1"):
            pruning.check(sparsity, "constant")


def other_size():
    inputs = keras.Input((9, 9, 3))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)), name="nine")


def maps():
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, keras.layers.Dense(3)(inputs), name="maps")


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        *((trained, {"sparsity": n}, f"Received: {n}$") for n in (0, 1, -1, 1.5, float("nan"))),
        (trained, {"schedule": "linear"}, "schedule of pruning of: poly.*Received: 'linear'"),
        (trained, {"schedule": "2:4", "sparsity": 0.75}, "2:4 is a sparsity of 0.5. Received: 0.7"),
        (trained, {"skip": ["spatial3"]}, "'tiny' has no layer 'spatial3'.*it has spatial[24], "),
        (trained, {"skip": "spatial2"}, "skip as a list of names or 'default'"),
        (trained, {"skip": [*GROUPS, *ENDS]}, "No layer of 'tiny' is left to compress: spatial2, "),
        (other_size, {}, r"on images of \(8, 8, 3\) and 3 classes.*'nine' takes \(9, 9, 3\)"),
        (maps, {}, r"'maps' takes \(8, 8, 3\) and gives \(8, 8, 3\)"),
        (lambda: classifier(name="none"), {}, "No layer of 'none' is left to compress: classifier"),
    ],
)
def test_what_is_asked_for_in_error(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        prune(model(), tuning(), **arguments)


def test_images_of_other_classes():
    images, labels = easy_images()
    labels[0] = 3
    four = tuning().of_arrays(images, labels)
    with pytest.raises(ValueError, match=r"4 classes, of arrays\. 'tiny' .* gives \(3,\)"):
        prune(trained(), four)
