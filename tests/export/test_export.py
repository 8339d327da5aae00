import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots import export
from keras_roots.export import interpreter, operator_check, tflite
from keras_roots.export.artifact import compare
from keras_roots.export.exportable import exportable
from keras_roots.export.flatbuffer import Operator, kernel_scales, operators
from keras_roots.export.inference_graph import inference_graph
from keras_roots.layers import GroupedConv2D
from keras_roots.lowering import ways
from tests.reference import run_tflite
from tests.sample_models import with_statistics


@pytest.fixture(scope="module", name="images")
def make_images():
    return np.random.default_rng(0).uniform(0, 1, size=(5, 32, 32, 3)).astype(np.float32)


def many(images):
    """As many as a calibration takes without a warning."""
    return np.resize(images, (32, *images.shape[1:]))


def test_one_operator_for_each_convolution(tmp_path, images):
    model = keras_roots.RootNIN(root=8)
    path = tmp_path / "nin.tflite"
    artifact = export.export_tflite(model, path, images)
    assert artifact.operators["CONV_2D"] == 9
    assert set(artifact.operators) == {
        "CONV_2D",
        "MAX_POOL_2D",
        "AVERAGE_POOL_2D",
        "MEAN",
        "SOFTMAX",
    }
    assert (artifact.path, artifact.size) == (path, path.stat().st_size)
    assert (artifact.comparison.images, artifact.comparison.top1_agreement) == (5, 1.0)
    assert [file.name for file in tmp_path.iterdir()] == ["nin.tflite"]

    run = interpreter.make_interpreter(path).get_signature_runner()
    (scores,) = run(images=images[:1]).values()
    expected = model.predict(images[:1], verbose=0)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert artifact.comparison.max_difference <= 1e-5


def test_a_convolution_split_in_its_groups_is_refused(tmp_path, images, monkeypatch):
    convolve = ways.convolve
    monkeypatch.setattr(ways, "convolve", lambda *given: convolve(*given[:-1], "split"))
    with pytest.raises(RuntimeError, match="0 grouped convolutions, where the model has 2"):
        export.export_tflite(keras_roots.RootNIN(root=8), tmp_path / "nin.tflite", images)
    assert [file.name for file in tmp_path.iterdir()] == []


def test_wrong_outputs_are_refused_and_an_old_file_stays(tmp_path, images, monkeypatch):
    path = tmp_path / "nin.tflite"
    path.write_bytes(b"old")
    model, other = keras_roots.RootNIN(), keras_roots.RootNIN()
    wrong = exportable(other, images, "none", "")
    content = tflite.convert_graph(wrong, wrong.graph.without_softmax(), "float32")
    monkeypatch.setattr(tflite, "convert_graph", lambda *_, **__: content)
    with pytest.raises(RuntimeError, match="differ from Keras's by up to"):
        export.export_tflite(model, path, images)
    assert path.read_bytes() == b"old"
    ready = exportable(model, images, "none", "")
    mixed = dataclasses.replace(wrong, expected=ready.expected, scores=ready.scores)
    monkeypatch.setattr(tflite, "exportable", lambda *_: mixed)
    with pytest.raises(RuntimeError, match="differ from Keras's by up to"):
        export.export_tflite(model, path, images)
    assert [file.name for file in tmp_path.iterdir()] == ["nin.tflite"]


def test_outputs_that_are_no_numbers_are_refused(tmp_path, images):
    model = keras_roots.RootNIN()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(RuntimeError, match="differ from Keras's by up to nan"):
        export.export_tflite(model, tmp_path / "nin.tflite", images)


class Erfinv(keras.Layer):
    def call(self, x):
        return keras.ops.mean(keras.ops.erfinv(x), axis=(1, 2))


def test_operators_that_litert_lacks_are_refused(tmp_path, images, monkeypatch):
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, Erfinv()(inputs))
    with pytest.raises(RuntimeError, match="cannot be converted to TFLite"):
        export.export_tflite(model, tmp_path / "a.tflite", images)

    def convert_as_custom(*_, **__):
        function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 32, 32, 3)))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
        converter.allow_custom_ops = True
        return converter.convert()

    monkeypatch.setattr(tflite, "convert_graph", convert_as_custom)
    with pytest.raises(RuntimeError, match="does not run by itself.*CUSTOM Erfinv"):
        export.export_tflite(model, tmp_path / "a.tflite", images)
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_that_lost_its_variables_is_refused(monkeypatch):
    lost = [
        Operator("VAR_HANDLE", "", (), ()),
        Operator("CONV_2D", "", ((1, 8, 8, 3), (4, 1, 1, 3)), ()),
    ]
    monkeypatch.setattr(operator_check, "operators", lambda _: lost)
    # What the converter makes of a Keras model that it is handed beside its function: from some
    # versions of TensorFlow this, without an error; others abort the process.
    with pytest.raises(RuntimeError, match="VAR_HANDLE"):
        operator_check.check_operators(b"", inference_graph(keras_roots.RootNIN(root=1)))


def test_convolutions_that_are_no_layers_of_ours(tmp_path, images):
    class Blur(keras.Layer):
        def call(self, x):
            return keras.ops.conv(x, keras.ops.ones((3, 3, 3, 8)) / 9)

    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            Blur(),
            GroupedConv2D(8, 3, groups=2),
            keras.layers.Reshape((4, 7, 28, 8)),
            keras.layers.TimeDistributed(keras.layers.Conv2D(4, 3)),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    artifact = export.export_tflite(model, tmp_path / "model.tflite", images)
    assert artifact.operators["CONV_2D"] >= 3


def test_depthwise_and_separable_layers_of_other_networks(tmp_path, images):
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(8, 3),
            keras.layers.DepthwiseConv2D(3),
            keras.layers.SeparableConv2D(8, 3),
            GroupedConv2D(8, 3, groups=8),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    artifact = export.export_tflite(model, tmp_path / "model.tflite", images)
    operators = artifact.operators
    assert operators["CONV_2D"] + operators["DEPTHWISE_CONV_2D"] == 5


def test_bad_arguments(tmp_path, images):
    model, path = keras_roots.RootNIN(), tmp_path / "nin.tflite"
    with pytest.raises(ValueError, match=r"shape \(32, 32, 3\).*array of shape \(5, 16, 16, 3\)"):
        export.export_tflite(model, path, images[:, :16, :16])
    with pytest.raises(ValueError, match="one image or more"):
        export.export_tflite(model, path, images[:0])
    with pytest.raises(FileNotFoundError, match="no folder"):
        export.export_tflite(model, tmp_path / "missing" / "nin.tflite", images)
    inputs = keras.Input((None, None, 3))
    pooled = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    with pytest.raises(ValueError, match="leaves it open"):
        export.export_tflite(pooled, path, images)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = keras_roots.RootNIN()
    finally:
        keras.config.set_dtype_policy("float32")
    with pytest.raises(ValueError, match="computes in bfloat16"):
        export.export_tflite(half, path, images)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="folder where a file"):
        export.export_tflite(model, tmp_path / "folder", images)


@pytest.mark.slow
def test_auxiliary_heads_are_not_exported(tmp_path):
    model = keras_roots.RootGoogLeNet(
        auxiliary_heads=True, input_shape=(80, 80, 3), classes=3, root=4
    )
    images = np.random.default_rng(0).normal(size=(2, 80, 80, 3)).astype(np.float32)
    artifact = export.export_tflite(model, tmp_path / "googlenet.tflite", images)
    # Three convolutions before nine modules of six; and one dense layer, not five.
    assert artifact.operators["CONV_2D"] == 3 + 9 * 6
    assert artifact.operators["FULLY_CONNECTED"] == 1
    run = interpreter.make_interpreter(artifact.path).get_signature_runner()
    (scores,) = run(images=images[:1]).values()
    expected = model.predict(images[:1], verbose=0)["predictions"]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.fixture(scope="module", name="trained")
def make_trained(images):
    """A small network, its normalisation statistics those of the images."""
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(16, 5, strides=2, padding="same", name="first"),
            keras.layers.BatchNormalization(momentum=0.0),
            keras.layers.ReLU(),
            GroupedConv2D(16, 3, groups=8, padding="same", name="grouped"),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, activation="softmax"),
        ],
        name="trained",
    )
    model(images, training=True)
    return model


def test_int8(tmp_path, images, trained):
    path = tmp_path / "model.tflite"
    artifact = export.export_tflite(
        trained, path, images, precision="int8", calibration=many(images)
    )
    assert artifact.precision == "int8"
    assert [each.lowering for each in artifact.choices] == ["folded", "packed-2"]
    # All but the softmax at the end is in integers.
    assert artifact.operators["DEQUANTIZE"] == artifact.operators["SOFTMAX"] == 1
    kinds = [operator.kind for operator in operators(path.read_bytes())]
    assert kinds[-2:] == ["DEQUANTIZE", "SOFTMAX"]
    assert kinds[0] == "QUANTIZE"
    assert artifact.size < 0.5 * 4 * trained.count_params() + 20_000
    run = interpreter.make_interpreter(path).get_signature_runner()
    (scores,) = run(images=images[:1]).values()
    np.testing.assert_allclose(scores.sum(), 1, atol=1e-6)
    np.testing.assert_allclose(scores, trained.predict(images[:1], verbose=0), atol=0.05)


@pytest.mark.parametrize("precision", ["int8", "int8x16"])
def test_without_calibration_the_images_serve_for_both(tmp_path, images, trained, precision):
    given, lines = many(images), []
    paths = tmp_path / "one.tflite", tmp_path / "two.tflite"
    how = {"precision": precision, "report": lines.append}
    one = export.export_tflite(trained, paths[0], given, **how)
    assert one.metadata["calibration_images"] == one.comparison.images == len(given)
    said = "of 32 images, the same that the file is verified with"
    assert [line for line in (*lines, *one.notes) if said in line] == [one.notes[0]] * 2
    assert said in one.report()
    two = export.export_tflite(trained, paths[1], given, calibration=given, **how)
    assert "the same" not in two.report()
    np.testing.assert_array_equal(*(run_tflite(path.read_bytes(), images) for path in paths))
    with pytest.warns(UserWarning, match="taken from 5 images only"):
        export.export_tflite(trained, tmp_path / "few.tflite", images, precision=precision)


def test_packing_leaves_int8s_scales_as_they_were(images, trained):
    ready = exportable(trained, images, "none", "")
    scales = {}
    for name in ("native", "packed-4", "packed-1"):
        lowered = ready.graph.with_lowerings({"grouped": name})
        content = tflite.convert_graph(ready, lowered, "int8", (images,))
        scales[name] = kernel_scales(content)
        groups = [each.groups for each in operators(content) if each.kind == "CONV_2D"]
        assert groups == [1, {"native": 8, "packed-4": 4, "packed-1": 1}[name]]
    for name in ("packed-4", "packed-1"):
        for ours, theirs in zip(scales[name], scales["native"], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert scales["native"][1].shape == (16,)


@pytest.mark.parametrize("precision", ["float32", pytest.param("int8", marks=pytest.mark.slow)])
def test_each_lowering_gives_the_same_file_but_for_rounding(images, trained, precision):
    ready = exportable(trained, images, "none", "")
    graph = ready.graph.without_softmax()
    (expected,) = ready.scores
    tolerance = 1e-5 if precision == "float32" else 0.1
    for first in ("native", "folded"):
        for grouped in ("native", "packed-1", "packed-2", "packed-4", "split"):
            lowered = graph.with_lowerings({"first": first, "grouped": grouped})
            content = tflite.convert_graph(ready, lowered, precision, (images,))
            actual = run_tflite(content, images)
            assert np.abs(actual - expected).max() <= tolerance * np.ptp(expected)


def test_int8_that_is_wrong_is_refused(tmp_path, images, trained):
    with pytest.raises(RuntimeError, match=r"0.5 of the outputs' own.*calibration"):
        export.export_tflite(
            trained,
            tmp_path / "a.tflite",
            images,
            precision="int8",
            calibration=many(images) * 1e-4,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_file_far_from_keras_is_accepted_with_a_warning_only(tmp_path, images, trained):
    scores = keras.Model(trained.inputs, trained.layers[-2].output)
    for scale, tolerance in ((1, None), (1e-2, 1e9)):
        path = tmp_path / f"{scale}.tflite"
        calibration = many(images) * np.float32(scale)
        artifact = export.export_tflite(
            scores, path, images, precision="int8", calibration=calibration, tolerance=tolerance
        )
        expected = scores.predict(images, verbose=0).astype(np.float64)
        noise = run_tflite(path.read_bytes(), images) - expected
        ratio = -20 * np.log10(np.linalg.norm(noise) / np.linalg.norm(expected))
        found = artifact.comparison
        assert found.signal_to_noise == pytest.approx(ratio, abs=1e-3)
        assert artifact.metadata["verification"]["signal_to_noise"] == found.signal_to_noise
        assert f"signal-to-noise ratio {ratio:.1f} dB" in artifact.report()
        assert (ratio < 15) == (scale < 1) == (found.warning is not None)
        assert ("warning: the outputs are far from Keras's" in artifact.report()) == (scale < 1)


def test_signal_and_noise_of_several_outputs_are_those_of_the_worst():
    ones, zeros = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    for others, expected in (([ones * 1.1, ones * 1.01], 20), ([ones, ones * 1.1], 20)):
        found = compare(others, [ones, ones], "somewhere")
        assert found.signal_to_noise == pytest.approx(expected, abs=1e-3)
    for actual, expected in ((ones, ones), (ones, zeros)):
        found = compare([actual], [expected], "somewhere")
        assert found.signal_to_noise is found.warning is None


def test_operators_alone_are_the_network(images, trained):
    ready = exportable(trained, images, "none", "")
    content = tflite.convert_graph(ready, ready.graph, "float32")
    x = images[:1]
    for operator in operators(content, cut=True):
        alone = interpreter.make_interpreter(operator.file)
        (given,) = alone.get_input_details()
        alone.set_tensor(given["index"], x)
        alone.invoke()
        x = alone.get_tensor(alone.get_output_details()[0]["index"])
        assert x.shape == operator.output_shape
    np.testing.assert_allclose(x, trained.predict(images[:1], verbose=0), atol=1e-5)


def test_bad_arguments_of_int8_and_lowering(tmp_path, images):
    model, path = keras_roots.RootNIN(), tmp_path / "nin.tflite"
    for arguments, message in (
        ({"precision": "int4"}, "precision as one of: float32, float16, .*'int4'"),
        (
            {"precision": "int8", "calibration": images[:0]},
            "one image or more of shape .* to calibrate int8 with",
        ),
        ({"precision": "int8", "calibration": images[:, 1:]}, "to calibrate int8 with"),
        ({"lowering": "fast"}, "lowering as one of: auto, tuned, native"),
    ):
        with pytest.raises(ValueError, match=message):
            export.export_tflite(model, path, images, **arguments)
    assert list(tmp_path.iterdir()) == []


def unusual_models():
    image = keras.Input((33, 33, 3))
    shared = keras.layers.Conv2D(8, 3, strides=2, name="shared")
    even = shared(keras.layers.Cropping2D(((0, 1), (0, 1)))(image))
    pooled = [keras.layers.GlobalAveragePooling2D()(each) for each in (shared(image), even)]
    yield "a layer called on two sizes", image, keras.layers.Concatenate()(pooled)

    image = keras.Input((16, 16, 3))
    x = keras.layers.GroupNormalization(4)(keras.layers.Conv2D(8, 3)(image))
    yield "group normalisation", image, keras.layers.GlobalAveragePooling2D()(x)

    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, dilation_rate=2, padding="same")(image)
    x = keras.layers.Conv2D(4, 1, strides=2)(x)
    yield "pixels of a dilated convolution", image, keras.layers.GlobalAveragePooling2D()(x)

    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image))
    yield "a named output", image, {"predictions": keras.layers.Dense(3, "softmax")(x)}

    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image))
    yield "one value", image, keras.layers.Dense(1)(x)

    image, inner = keras.Input((16, 16, 3)), keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(inner)
    nested = keras.Model(inner, keras.layers.ReLU()(x))
    yield "a nested model of open size", image, keras.layers.GlobalAveragePooling2D()(nested(image))

    image = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(image))
    x = keras.layers.Softmax()(keras.layers.Dense(4)(x), mask=x[:, :4] > -9)
    yield "a masked softmax", image, x


@pytest.mark.parametrize("precision", ["float32", pytest.param("int8", marks=pytest.mark.slow)])
def test_unusual_models(tmp_path, precision):
    for name, image, outputs in unusual_models():
        keras.utils.set_random_seed(1)
        model = keras.Model(image, outputs)
        images = np.random.default_rng(0).normal(size=(4, *image.shape[1:])).astype(np.float32)
        artifact = export.export_tflite(
            model, tmp_path / "a.tflite", images, precision=precision, calibration=many(images)
        )
        (expected,) = keras.tree.flatten(model.predict(images, verbose=0))
        actual = run_tflite(artifact.path.read_bytes(), images)
        tolerance = 1e-5 if precision == "float32" else 0.2
        assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max() + 1e-6, name


@pytest.fixture(scope="module", name="crops")
def make_crops():
    """Parts of the two photographs that scikit-learn brings, as a network takes them."""
    from sklearn.datasets import load_sample_images

    photographs = np.stack(load_sample_images().images).astype(np.float32)
    parts = [photographs[:, y : y + 224, x : x + 224] for y in (0, 200) for x in (0, 200, 400)]
    return keras.applications.imagenet_utils.preprocess_input(
        np.concatenate(parts), data_format="channels_last", mode="torch"
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("resnet50", {"root": 1}),
        ("resnet50", {"root": 16}),
        ("resnet50", {"root": 64}),
        ("resnet50", {"root": 16, "stride_in_1x1": False}),
        ("googlenet", {"root": 8}),
        ("googlenet", {"root": 16, "geometry": "deep-roots"}),
        ("resnet50v2", {"root": 32}),
    ],
)
def test_networks_on_photographs(tmp_path, crops, network, options, precision):
    keras.utils.set_random_seed(0)
    model = keras_roots.build(network, classifier_activation=None, **options)
    with_statistics(model, crops[:6])
    artifact = export.export_tflite(
        model, tmp_path / "a.tflite", crops[6:], precision=precision, calibration=many(crops[:6])
    )
    assert artifact.comparison.images == 6
    expected = model.predict(crops[6:], verbose=0)
    actual = run_tflite(artifact.path.read_bytes(), crops[6:])
    if precision == "float32":
        np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())
        assert artifact.comparison.top1_agreement == 1
    # Random weights amplify what rounding to eight bits loses; a wrong file has nothing of it.
    assert np.corrcoef(actual.ravel(), expected.ravel())[0, 1] > 0.9
