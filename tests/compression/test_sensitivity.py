import itertools
import math
from fractions import Fraction

import hypothesis.strategies as st
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given

from keras_roots import layers
from keras_roots.compression import sensitivity
from keras_roots.compression.sensitivity import pruned, quantised, scan
from keras_roots.compression.sensitivity_results import Row, mcnemar

CLASSES = 4


@st.composite
def kernels(draw):
    """Of few values, so that many magnitudes are equal, and signs of zero differ."""
    shape = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    values = st.sampled_from([-2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 1.5, 1e-42])
    size = math.prod(shape)
    flat = draw(st.lists(values, min_size=size, max_size=size))
    return np.array(flat, np.float32).reshape(shape)


@given(kernels(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.999]))
def test_pruning_takes_the_smallest_and_of_equal_ones_the_first(kernel, sparsity):
    before = kernel.copy()
    flat = [float(value) for value in kernel.ravel()]
    count = min(round(sparsity * len(flat)), len(flat) - 1)
    for place in sorted(range(len(flat)), key=lambda place: (abs(flat[place]), place))[:count]:
        flat[place] = 0.0
    expected = np.array(flat, np.float32).reshape(kernel.shape)
    found = pruned(kernel, sparsity)
    assert found.dtype == np.float32
    assert found.tobytes() == expected.tobytes()
    assert kernel.tobytes() == before.tobytes()


@given(kernels(), st.integers(2, 8), st.booleans())
def test_quantisation_is_to_the_nearest_of_the_channels_own_levels(kernel, bits, depthwise):
    axes = (-2, -1) if depthwise else (-1,)
    found = quantised(kernel, bits, axes)
    assert found.dtype == np.float32
    assert found.shape == kernel.shape
    most = 2 ** (bits - 1) - 1
    channels = kernel.shape[-2] * kernel.shape[-1] if depthwise else kernel.shape[-1]
    pairs = zip(
        kernel.reshape(-1, channels).T.tolist(), found.reshape(-1, channels).T.tolist(), strict=True
    )
    for weights, rounded in pairs:
        largest = max(map(abs, weights))
        levels = [Fraction(largest) * level / most for level in range(-most, most + 1)]
        for weight, value in zip(weights, rounded, strict=True):
            nearest = min(abs(Fraction(weight) - level) for level in levels)
            error = abs(Fraction(weight) - Fraction(value))
            # As float32 has it; of the smallest numbers it has only some.
            assert abs(error - nearest) <= Fraction(largest) * Fraction(1, 2**22) + Fraction(
                1, 2**149
            )
        assert max(map(abs, rounded)) == largest


def test_quantisation_of_a_transposed_kernel_is_by_its_own_output_channels():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 5)).astype(np.float32)
    swapped = quantised(kernel.swapaxes(-1, -2), 3).swapaxes(-1, -2)
    assert np.array_equal(quantised(kernel, 3, (-2,)), swapped)
    assert not np.array_equal(quantised(kernel, 3), swapped)


def test_the_paired_test_against_all_orders_of_a_coin():
    for changed in range(9):
        heads = [sum(order) for order in itertools.product((0, 1), repeat=changed)]
        for lost in range(changed + 1):
            as_unequal = sum(abs(2 * h - changed) >= abs(2 * lost - changed) for h in heads)
            assert mcnemar(lost, changed - lost) == as_unequal / 2**changed


def test_the_paired_test_of_many_pairs_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    for lost, gained in ((1200, 1100), (0, 3000), (40, 17), (17, 40)):
        expected = stats.binomtest(lost, lost + gained).pvalue
        assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)


def all_kinds():
    """A classifier with each kind of kernel, one nested and called twice."""
    inner = keras.Input((8, 8, 4))
    grouped = layers.GroupedConv2D(4, 3, groups=2, padding="same", name="grouped")
    block = keras.Model(inner, grouped(inner), name="block")
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(x)
    x = block(keras.layers.ReLU()(block(x)))
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(x)
    x = keras.layers.SeparableConv2D(6, 3, activation="relu", name="separable")(x)
    x = keras.layers.Conv2DTranspose(5, 2, strides=2, name="transposed")(x)
    x = keras.layers.Flatten()(x)
    outputs = keras.layers.Dense(CLASSES, activation="softmax", name="dense")(x)
    return keras.Model(inputs, outputs, name="kinds")


def random_weights(model, seed=0):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(0, 0.5, w.shape).astype(w.dtype) ** 2 for w in model.get_weights()]
    model.set_weights([w * rng.choice([-1, 1], w.shape) if w.ndim > 1 else w for w in weights])
    return model


def labelled(model, count=61, seed=1):
    """Images, and labels of which the model has most right."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 8, 8, 3), np.uint8)
    labels = np.argmax(model(images.astype(np.float32)).numpy(), axis=1)
    return images, np.where(rng.random(count) < 0.7, labels, rng.integers(0, CLASSES, count))


KERNELS = {  # Attribute, output channels' axes, groups, by label.
    "first": ("kernel", (-1,), 1),
    "block/grouped": ("kernel", (-1,), 2),
    "depthwise": ("kernel", (-2, -1), 4),
    "separable (depthwise)": ("depthwise_kernel", (-2, -1), 8),
    "separable (pointwise)": ("pointwise_kernel", (-1,), 1),
    "transposed": ("kernel", (-2,), 1),
    "dense": ("kernel", (-1,), 1),
}


def layer_of(model, label):
    for name in label.partition(" ")[0].split("/"):
        model = model.get_layer(name)
    return model


@pytest.fixture(scope="module", name="model")
def build_model():
    return random_weights(all_kinds())


def as_bytes(model):
    return [weight.tobytes() for weight in model.get_weights()]


def test_the_counts_are_those_of_a_copy_changed_by_hand(model):
    images, labels = labelled(model)
    before = as_bytes(model)
    found = scan(model, images, labels, sparsities=[0.5, 0.9], bits=[2], batch_size=25)
    assert as_bytes(model) == before
    copied = keras.models.clone_model(model)

    def right():
        scores = copied(images.astype(np.float32), training=False).numpy()
        return scores.argmax(axis=1) == labels

    copied.set_weights(model.get_weights())
    baseline = right()
    assert (found.model, found.images, found.correct) == ("kinds", 61, baseline.sum())
    assert found.changes == ("sparsity 0.5", "sparsity 0.9", "2 bits")
    assert list(found.by_layer()) == list(KERNELS)
    rows = iter(found.rows)
    for label, (attribute, axes, groups) in KERNELS.items():
        variable = getattr(layer_of(copied, label), attribute)
        kernel = variable.numpy()
        for change, changed in (
            ("sparsity 0.5", pruned(kernel, 0.5)),
            ("sparsity 0.9", pruned(kernel, 0.9)),
            ("2 bits", quantised(kernel, 2, axes)),
        ):
            variable.assign(changed)
            after = right()
            row = next(rows)
            assert row == Row(
                layer=label,
                groups=groups,
                parameters=kernel.size,
                change=change,
                images=61,
                correct=after.sum(),
                right_to_wrong=(baseline & ~after).sum(),
                wrong_to_right=(after & ~baseline).sum(),
            )
            assert row.drop == pytest.approx(100 * (baseline.mean() - after.mean()))
            assert row.p_value == mcnemar(row.right_to_wrong, row.wrong_to_right)
            variable.assign(kernel)
    assert len({row.correct for row in found.rows}) > 3
    assert any(row.right_to_wrong and row.wrong_to_right for row in found.rows)


def test_only_the_layers_asked_for_and_each_change_once(model):
    images, labels = labelled(model)
    asked = ["separable", "block/grouped"]
    found = scan(model, images, labels, layers=asked, sparsities=[0], bits=[8, 8])
    assert list(found.by_layer()) == [
        "block/grouped",
        "separable (depthwise)",
        "separable (pointwise)",
    ]
    assert found.changes == ("sparsity 0", "8 bits")
    assert all(row.drop == 0 for row in found.rows if row.change == "sparsity 0")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_model_is_as_it_was_if_something_is_raised_in_the_middle(model, error, monkeypatch):
    images, labels = labelled(model)
    kernel = model.get_layer("dense").kernel
    special = kernel.numpy()
    special[0, :2] = [-0.0, 1e-45]
    kernel.assign(special)
    before, calls = as_bytes(model), []

    def evaluation(*_):
        def right():
            calls.append(as_bytes(model))
            if len(calls) == 4:
                raise error
            return np.ones(len(labels), bool)

        return right

    monkeypatch.setattr(sensitivity, "_evaluation", evaluation)
    with pytest.raises(error):
        scan(model, images, labels)
    assert calls[0] == before
    assert sum(ours != theirs for ours, theirs in zip(calls[3], before, strict=True)) == 1
    assert as_bytes(model) == before


@pytest.mark.parametrize("dtype", ["mixed_float16", "bfloat16", "float64"])
def test_kernels_of_other_types(dtype):
    try:
        keras.layers.Conv2D(4, 3, dtype=dtype)(tf.zeros((1, 8, 8, 3)))
    except tf.errors.OpError as error:
        pytest.skip(f"TensorFlow does not compute in {dtype} on this processor: {error}")
    inputs = keras.Input((8, 8, 3), dtype="float32")
    x = keras.layers.Conv2D(4, 3, dtype=dtype, name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D(dtype=dtype)(x)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, dtype=dtype)(x))
    before = [tf.identity(variable.value) for variable in model.weights]
    images, labels = labelled(model, count=9)
    found = scan(model, images.astype(np.float32), labels, sparsities=[0.9], bits=[4])
    assert len(found.rows) == 4
    for variable, value in zip(model.weights, before, strict=True):
        assert variable.value.dtype == value.dtype
        assert np.array_equal(variable.value.numpy(), value.numpy())


def test_layers_whose_kernels_are_no_floats_are_left_out():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    adapted = keras.layers.Dense(8, name="adapted")
    whole = keras.layers.Dense(8, name="whole")
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, name="last")(whole(adapted(x))))
    adapted.enable_lora(1)
    whole.quantize("int8")
    images, labels = labelled(model, count=5)
    found = scan(model, images, labels, sparsities=[], bits=[8])
    assert list(found.by_layer()) == ["conv", "last"]


def test_auxiliary_heads_are_left_out(model):
    heads = keras.Model(
        model.inputs,
        {
            "predictions": model.output,
            "auxiliary_1": keras.layers.Dense(CLASSES, name="auxiliary")(
                keras.layers.Flatten()(model.get_layer("first").output)
            ),
        },
        name=model.name,
    )
    images, labels = labelled(model)
    asked = {"sparsities": [0.75], "bits": []}
    assert scan(heads, images, labels, **asked) == scan(model, images, labels, **asked)


def test_images_whose_scores_are_not_finite_are_wrong():
    inputs = keras.Input((8, 8, 3))
    means = keras.layers.GlobalAveragePooling2D()(inputs)
    sums = keras.layers.Dense(1, use_bias=False, name="sums")(means)
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=False)(sums))
    model.set_weights([np.array([[2], [-1.9], [0]]), np.array([[3e38, 0]])])
    found = scan(
        model,
        np.ones((2, 8, 8, 3), np.float32),
        np.zeros(2, int),
        sparsities=[0.3, 0.6],
        bits=[],
        layers=["sums"],
    )
    # Without the second weight the sum, 0.1, is 2; and 6e38 is more than float32 has.
    assert (found.correct, [row.right_to_wrong for row in found.rows]) == (2, [0, 2])


def test_progress_is_reported_now_and_then(model, monkeypatch):
    images, labels = labelled(model)
    lines = []
    asked = {"sparsities": [0.5], "bits": [4], "layers": ["dense"], "report": lines.append}
    scan(model, images, labels, **asked)
    assert len(lines) == 1
    assert "of 61 images are right; one pass for each of 1 kernels and 2 changes" in lines[0]
    monkeypatch.setattr("keras_roots.reporting.progress._SECONDS_BETWEEN_LINES", 0)
    scan(model, images, labels, **asked)
    assert lines[-1] == "2 of 2 passes, 0:00:00 left: dense"


def images_of(shape=(2, 8, 8, 3), dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sparsities": [1.0]}, "sparsity from 0 to less than 1. Received: 1.0"),
        ({"sparsities": [-0.1]}, "sparsity from 0"),
        ({"sparsities": [math.nan]}, "sparsity from 0"),
        ({"sparsities": ["0.5"]}, "Received: '0.5'"),
        ({"bits": [1]}, "bits from 2 to 8. Received: 1"),
        ({"bits": [9]}, "bits from 2 to 8"),
        ({"bits": [4.5]}, "bits from 2 to 8"),
        ({"sparsities": [], "bits": []}, "one sparsity or number of bits"),
        ({"layers": []}, "one layer or more"),
        ({"layers": ["dens"]}, "no layer 'dens' .* Did you mean 'dense'"),
        ({"layers": ["norm"]}, "no layer 'norm' with the kernel"),
        ({"layers": ["xyz"]}, "of Dense.$"),
        ({"batch_size": 0}, "batch_size of 1 or more"),
        ({"images": images_of((2, 9, 8, 3))}, r"\[n, 8, 8, 3\].*Received: \[2, 9, 8, 3\]"),
        ({"images": images_of((8, 8, 3))}, r"Received: \[8, 8, 3\]"),
        ({"images": images_of(dtype=np.int64)}, "float32 or uint8. Received: .* of int64"),
        ({"images": images_of((0, 8, 8, 3)), "labels": np.zeros(0, int)}, "one image or more"),
        ({"labels": np.zeros(2)}, "integer label for each of 2 .* of float64"),
        ({"labels": np.zeros(3, int)}, r"Received: \[3\]"),
        ({"labels": np.eye(2, 4, dtype=int)}, r"Received: \[2, 4\]"),
        ({"labels": np.array([0, 4])}, "labels from 0 to 3, .* Received: 0 to 4"),
        ({"labels": np.array([-1, 0])}, "Received: -1 to 0"),
    ],
)
def test_what_is_asked_for_in_error(model, changed, message):
    arguments = {"images": images_of(), "labels": np.zeros(2, int), **changed}
    with pytest.raises(ValueError, match=message):
        scan(model, **arguments)


def test_models_that_are_no_classifiers_of_images():
    images, labels = images_of(), np.zeros(2, int)
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(inputs)
    dense = keras.layers.Dense(3)
    for model, message in (
        (keras.Model(inputs, flat), "no convolution and no Dense layer"),
        (keras.Model(inputs, dense(inputs)), r"outputs of \(None, 8, 8, 3\)"),
        (keras.Model(inputs, [dense(flat[:, :3]), flat]), r"one output, \[batch, classes\]"),
        ("model.keras", "Expected a Keras model"),
        (keras.Sequential([keras.layers.Dense(3)]), "has not been built"),
    ):
        with pytest.raises(ValueError, match=message):
            scan(model, images, labels)
