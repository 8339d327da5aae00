import functools
import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.compression import preserved, quantization, rounding
from keras_roots.compression.bridge import to_legacy
from keras_roots.compression.fast_rounding import fast_rounding
from keras_roots.compression.fine_tuning import FineTuning
from keras_roots.compression.legacy import libraries
from keras_roots.compression.quantization import quantize_aware
from keras_roots.compression.weights import kernels_of
from keras_roots.export import flatbuffer
from keras_roots.layers.normalization import LocalResponseNormalization
from tests.reference import run_tflite
from tests.tiny_networks import (
    GROUPS,
    as_bytes,
    as_taken,
    classifier,
    drawn,
    easy_images,
    halved,
    kernels,
    of_seven_values,
    trained,
    tuning,
    with_kernels,
)

KERNELS = ("first", *GROUPS, "classifier")  # In the order of the file.


@pytest.fixture(scope="module", name="images")
def other_images():
    return as_taken(easy_images(16, seed=5)[0])


def pruned_and_clustered():
    """The first of the layers that are clustered has no zeros."""
    model = with_kernels(trained(), lambda kernel: of_seven_values(halved(kernel)))
    spatial = of_seven_values(kernels(trained())["spatial2"])
    model.get_layer("spatial2").kernel.assign(spatial)
    return model


BEFORE = {
    "nothing": trained,
    "sparsity": lambda: with_kernels(trained(), halved),
    "clusters": lambda: with_kernels(trained(), of_seven_values),
    "both": pruned_and_clustered,
}


@pytest.fixture(scope="module", params=BEFORE, name="case")
def quantize(request, images, tmp_path_factory):
    """What it is of, what it gives, its file, and the logits of the network that was trained."""
    preserve, folder, logits = request.param, tmp_path_factory.mktemp("files"), []
    export = quantization.export_trained_integers

    def spy(*arguments, infer, **others):
        logits.append(np.asarray(infer(images)))
        return export(*arguments, infer=infer, **others)

    before = BEFORE[preserve]()
    as_it_was = as_bytes(before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantization, "export_trained_integers", spy)
        found = quantize_aware(
            before, tuning(epochs=2), folder / "a.tflite", images, preserve=preserve
        )
    assert as_bytes(before) == as_it_was
    assert [path.name for path in folder.iterdir()] == ["a.tflite"]
    return preserve, before, found, (folder / "a.tflite").read_bytes(), logits[0]


def test_the_file_is_one_delegate_of_int8_with_grouped_convolutions(case):
    _, _, found, content, _ = case
    artifact = found.artifact
    assert (artifact.precision, artifact.delegates, dict(artifact.outside)) == ("int8", 1, {})
    convolutions = [each for each in flatbuffer.operators(content) if each.kind == "CONV_2D"]
    assert [each.groups for each in convolutions] == [1, *GROUPS.values()]
    assert {each.dtype for each in convolutions} == {"INT8"}
    assert all(kernel.dtype == np.int8 for kernel in kernels_of(content).values())


def test_the_file_gives_what_the_trained_network_gives(case, images):
    _, _, _, content, logits = case
    model = flatbuffer.read(content)
    kinds, graph = flatbuffer.kinds(model), model.subgraphs[0]
    *_, dequantize, softmax = graph.operators
    assert [kinds[each.opcodeIndex] for each in (dequantize, softmax)] == ["DEQUANTIZE", "SOFTMAX"]
    quantum = graph.tensors[dequantize.inputs[0]].quantization.scale[0]
    found = np.log(run_tflite(content, images))
    differences = found - logits
    # Logarithms of probabilities lack a number of each image's own.
    differences -= np.median(differences, axis=-1, keepdims=True)
    assert np.abs(differences).max() < 1.5 * quantum
    assert logits.std() > 5 * quantum


def test_weights_have_moved_and_the_network_is_the_same(case):
    _, before, found, _, _ = case
    assert found.model.get_config() == before.get_config()
    for ours, theirs in zip(found.model.weights, before.weights, strict=True):
        assert not np.array_equal(ours, theirs)
        assert np.abs(np.asarray(ours) - theirs).max() < 1


def test_what_is_preserved_is_there_in_the_model_and_in_the_file(case):
    preserve, before, found, content, _ = case
    in_file = dict(zip(KERNELS, kernels_of(content).values(), strict=True))
    for name, kernel in kernels(before).items():
        after, integers = kernels(found.model, [name])[name], in_file[name].transpose(1, 2, 3, 0)
        assert after.shape == integers.shape == kernel.shape
        if preserve in ("sparsity", "both"):
            assert np.array_equal(after == 0, kernel == 0)
            assert np.any(kernel == 0) == (preserve == "sparsity" or name != "spatial2")
            assert not np.any(integers[kernel == 0])
            # What is less than half of a step is 0 there, too.
            assert np.count_nonzero(integers) >= 0.9 * np.count_nonzero(kernel)
        if preserve in ("clusters", "both"):
            values = len(np.unique(kernel))
            assert 4 <= values <= 7
            assert len(np.unique(after)) <= values
            assert max(len(np.unique(filter_)) for filter_ in in_file[name]) <= values


def test_tensorflow_model_optimizations_own_quantizer_is_one_for_all_layers():
    """Which ceases to preserve sparsity at the first without zeros; hence `_scheme`."""
    combine = libraries().tfmot.experimental.combine
    layers = libraries().keras.layers
    registry = combine.Default8BitClusterPreserveQuantizeScheme(True).get_quantize_registry()
    made = [layers.Conv2D(1, 1), layers.Conv2D(1, 1)]
    for layer in made:
        layer.build((1, 1, 1, 1))
    first, second = (registry.get_quantize_config(layer).weight_quantizer for layer in made)
    assert first is second


@pytest.fixture(name="untrained")
def without_updates(monkeypatch):
    monkeypatch.setattr(quantization, "fine_tune", lambda *_, **__: None)


def test_kernels_are_rounded_by_their_largest_weights(untrained, images, tmp_path):
    found = quantize_aware(trained(), tuning(16), tmp_path / "a.tflite", images)
    in_file = kernels_of((tmp_path / "a.tflite").read_bytes()).values()
    for name, integers in zip(KERNELS, in_file, strict=True):
        kernel = kernels(trained(), [name])[name]
        assert np.array_equal(kernels(found.model, [name])[name], kernel)
        largest = np.abs(kernel).max(axis=(0, 1, 2) if kernel.ndim == 4 else None)
        expected = np.rint(np.moveaxis(127 / largest * kernel, -1, 0))
        assert np.array_equal(integers, expected)


@pytest.mark.parametrize("shape", [(3, 3, 2, 5), (7, 5)])
def test_kernels_are_rounded_in_training_as_in_the_file(shape):
    libraries()
    from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

    rng = np.random.default_rng(0)
    kernel = rng.normal(size=shape).astype(np.float32)
    kernel[..., 1] = 0
    variable = tf.Variable(kernel)
    ranges = [tf.Variable(np.zeros(5, np.float32)) for _ in range(2)]
    how = {"per_channel": True, "symmetric": True, "narrow_range": True, "num_bits": 8}

    def rounded(*, is_training):
        with tf.GradientTape() as tape:
            found = quant_ops.LastValueQuantize(variable, *ranges, is_training=is_training, **how)
        return found.numpy(), tape.gradient(found, variable, output_gradients=tf.constant(kernel))

    with fast_rounding():
        found, gradient = rounded(is_training=True)
    largest = np.abs(kernel).max(axis=tuple(range(len(shape) - 1)))
    assert np.array_equal(ranges[0], -largest)
    assert np.array_equal(ranges[1], largest)
    assert np.array_equal(gradient, kernel)
    step = np.maximum(largest, 1e-9) / 127
    np.testing.assert_allclose(found, np.rint(kernel / step) * step, atol=1e-6)
    np.testing.assert_allclose(found, rounded(is_training=False)[0], atol=1e-6)


def test_ranges_begin_with_those_of_the_data_and_nothing_else_changes():
    model = classifier(
        keras.layers.Rescaling(-2, name="scaled"),
        keras.layers.Conv2D(4, 3, name="conv"),
        keras.layers.BatchNormalization(name="norm"),
        keras.layers.Dropout(0.5),
        keras.layers.Activation("silu"),
    )
    images, labels = easy_images(40)
    data = FineTuning.of_arrays(images, labels, batch_size=16, epochs=1, preprocessing="torch")
    quantized = rounding.with_rounding(to_legacy(model, scores=True), (), "nothing", set())
    before = {variable.name: variable.numpy() for variable in quantized.variables}
    assert len(before) == len(quantized.variables)
    rounding.begin_ranges(quantized, data)
    after = {variable.name: variable.numpy() for variable in quantized.variables}

    # 40 images are two updates and a half; the third begins the images anew.
    taken = data.calibration_images(256)
    batches = [taken[:16], taken[16:32], taken[32:]]
    assert len(batches[2]) == 16
    lows, highs = ([end(batch) for batch in batches] for end in (np.min, np.max))
    assert max(lows) < -1.5
    # Of the input it is all that it has seen; of feature maps, a mean of batches.
    assert after["quantize_layer/quantize_layer_min:0"] == min(lows)
    assert after["quantize_layer/quantize_layer_max:0"] == max(highs)
    low, high = (0.81 * a + 0.09 * b + 0.1 * c for a, b, c in (lows, highs))
    scaled = [after[f"quant_scaled/output_{end}:0"] for end in ("min", "max")]
    # To half of the input's step.
    np.testing.assert_allclose(scaled, [-2 * high, -2 * low], atol=(high - low) / 250)

    ranges = {name for name in before if name.endswith(("_min:0", "_max:0"))}
    assert {name.partition("/")[0] for name in ranges} >= {"quant_conv", "quant_classifier"}
    assert all(before[name].tobytes() != after[name].tobytes() for name in ranges)
    others = set(before) - ranges
    assert {"conv/kernel:0", "norm/moving_mean:0"} <= others
    assert all(before[name].tobytes() == after[name].tobytes() for name in others)


def test_layers_that_are_left_alone_are_real_numbers_in_the_file(images, tmp_path):
    frozen = keras.layers.Conv2D(5, 3, name="frozen", trainable=False)
    model = classifier(
        keras.layers.Conv2D(4, 1, name="first"),
        keras.layers.SeparableConv2D(8, 3, activation="relu", name="separable"),
        keras.layers.Conv2D(6, 3, activation="relu", name="alone"),
        frozen,
    )
    found = quantize_aware(
        model, tuning(), tmp_path / "a.tflite", images, skip=("separable", "alone")
    )
    content = (tmp_path / "a.tflite").read_bytes()
    convolutions = [
        (each.dtype, each.shapes[1])
        for each in flatbuffer.operators(content)
        if "CONV" in each.kind
    ]
    assert convolutions == [
        ("INT8", (4, 1, 1, 3)),
        ("FLOAT32", (1, 3, 3, 4)),
        ("FLOAT32", (8, 1, 1, 4)),
        ("FLOAT32", (6, 3, 3, 8)),
        ("INT8", (5, 3, 3, 6)),
    ]
    alone = np.asarray(found.model.get_layer("alone").kernel)
    assert np.array_equal(list(kernels_of(content).values())[3], alone.transpose(3, 0, 1, 2))
    # What is not trained stays, in both.
    assert np.array_equal(found.model.get_layer("frozen").kernel, frozen.kernel)
    assert not found.model.get_layer("frozen").trainable


def convolution(name="conv", **arguments):
    return keras.layers.Conv2D(4, 3, padding="same", name=name, **arguments)


def normalized():
    layer = keras.layers.Normalization(mean=[90.0, 100, 110], variance=[900.0, 1000, 1100])
    return classifier(layer, convolution(), keras.layers.ReLU())


def concatenated():
    inputs = keras.Input((8, 8, 3))
    x = convolution("first", activation="relu")(keras.layers.Rescaling(1 / 128)(inputs))
    x = keras.layers.Concatenate()([x, convolution("conv")(x)])
    x = keras.layers.GlobalMaxPooling2D()(x)
    return drawn(keras.Model(inputs, keras.layers.Dense(3, name="classifier")(x)))


def with_operation():
    inputs = keras.Input((8, 8, 3))
    x = convolution("first", activation="relu")(keras.layers.Rescaling(1 / 128)(inputs))
    x = keras.ops.square(convolution("conv")(x)) + x
    x = keras.layers.Dense(3)(keras.layers.GlobalMaxPooling2D()(x))
    return drawn(keras.Model(inputs, x))


def with_middle(*layers):
    return classifier(
        keras.layers.Rescaling(1 / 128, offset=-1),
        convolution("first", activation="relu"),
        *layers,
    )


MODELS = {
    "pre-activation": lambda: with_middle(
        keras.layers.BatchNormalization(), keras.layers.ReLU(), convolution()
    ),
    "normalization at the input": normalized,
    "depthwise": lambda: with_middle(
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2), keras.layers.BatchNormalization()
    ),
    "keras.ops": with_operation,
    "concatenate": concatenated,
    "separable": lambda: with_middle(keras.layers.SeparableConv2D(8, 3, activation="relu")),
    "silu": lambda: with_middle(convolution(activation="silu")),
    "normalization alone": lambda: with_middle(
        keras.layers.BatchNormalization(), convolution(activation="relu")
    ),
    "local response normalization": lambda: with_middle(
        LocalResponseNormalization(), convolution(activation="relu")
    ),
    "several": lambda: with_middle(
        keras.layers.MaxPooling2D(2),
        convolution(),
        keras.layers.LeakyReLU(),
        keras.layers.Dropout(0.1),
        keras.layers.ZeroPadding2D(1),
        keras.layers.Conv2DTranspose(4, 3, strides=2),
        keras.layers.Activation("sigmoid"),
        keras.layers.AveragePooling2D(2),
        keras.layers.LayerNormalization(),
    ),
}
SLOW = list(MODELS)[2:]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in MODELS]
)
def test_layers_of_all_kinds(name, images, tmp_path):
    model = MODELS[name]()
    before = [np.asarray(weight) for weight in model.weights]
    found = quantize_aware(
        model, tuning(16, batch_size=16, learning_rate=0.001), tmp_path / "a.tflite", images
    )
    assert found.artifact.comparison.images == len(images)
    for old, new in zip(before, found.model.weights, strict=True):
        np.testing.assert_allclose(new, old, atol=1 + 0.3 * np.abs(old).max())
    moved = [
        not np.array_equal(old, new)
        for old, new in zip(model.trainable_weights, found.model.trainable_weights, strict=True)
    ]
    assert all(moved)
    made = run_tflite((tmp_path / "a.tflite").read_bytes(), images)
    expected = np.asarray(found.model(images, training=False))
    assert np.sqrt(np.mean((made - expected) ** 2)) < 0.1 * np.sqrt(np.mean(expected**2))


@pytest.mark.parametrize(
    ("model", "preserve", "message"),
    [
        (trained, "sparsity", "'tiny' has no zeros to preserve. Prune it first"),
        (trained, "clusters", "'tiny' has no clusters to preserve. Cluster it first"),
        (BEFORE["sparsity"], "both", "'tiny' has no clusters to preserve"),
        (BEFORE["clusters"], "both", "'tiny' has no zeros to preserve"),
        (trained, "all", "nothing, sparsity, clusters, both. Received: 'all'"),
    ],
)
def test_nothing_to_preserve(model, preserve, message, images, tmp_path):
    with pytest.raises(ValueError, match=message):
        quantize_aware(model(), tuning(), tmp_path / "a.tflite", images, preserve=preserve)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_layer_to_skip(images, tmp_path):
    with pytest.raises(ValueError, match="'tiny' has no layer 'mix' with a kernel; it has mix"):
        quantize_aware(trained(), tuning(), tmp_path / "a.tflite", images, skip=["mix"])


@pytest.mark.parametrize(
    ("missing", "extra"),
    [("ai_edge_litert", "litert"), ("tensorflow_model_optimization", "compression")],
)
def test_missing_packages(missing, extra, images, tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else found(name)
    )
    with pytest.raises(ModuleNotFoundError, match=rf"needs {missing}\..*keras_roots\[{extra}\]"):
        quantize_aware(trained(), tuning(), tmp_path / "a.tflite", images)


def test_a_file_that_is_too_far_off_is_not_written(untrained, images, tmp_path, monkeypatch):
    model = classifier(convolution())
    infer = quantization._inference

    def wrong_in_the_file(trained):
        return lambda given: infer(trained)(given) * (1.0 if tf.executing_eagerly() else 1.1)

    monkeypatch.setattr(quantization, "_inference", wrong_in_the_file)
    with pytest.raises(RuntimeError, match="differ from .* 0.01 of the outputs' own; no file"):
        quantize_aware(model, tuning(16), tmp_path / "a.tflite", images, tolerance=0.01)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("preserve", "change", "message"),
    [
        ("sparsity", np.ones_like, "144 zeros of 'spatial2' were not preserved"),
        ("clusters", lambda k: np.arange(k.size).reshape(k.shape), "'mix2' has 64 values, where"),
    ],
)
def test_what_was_not_preserved_is_an_error(preserve, change, message):
    before = kernels(BEFORE[preserve](), ["spatial2" if preserve == "sparsity" else "mix2"])
    after = {name: change(kernel) for name, kernel in before.items()}
    check = functools.partial(preserved.check_preserved, before)
    check(before, preserve, set(before))
    with pytest.raises(RuntimeError, match=message):
        check(after, preserve, set(before))
