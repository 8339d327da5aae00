import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_roots
from keras_roots import export, lowering
from keras_roots.export import tflite
from keras_roots.layers import GroupedConv2D


@pytest.fixture(scope="module", name="images")
def make_images():
    return np.random.default_rng(0).uniform(0, 1, size=(5, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize("root", [1, 8])
def test_one_operator_for_each_convolution(tmp_path, images, root):
    model = keras_roots.RootNIN(root=root)
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
    assert (artifact.images, artifact.top1_agreement) == (5, 1.0)
    assert [file.name for file in tmp_path.iterdir()] == ["nin.tflite"]

    run = tflite.make_interpreter(path).get_signature_runner()
    (scores,) = run(images=images[:1]).values()
    expected = model.predict(images[:1], verbose=0)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert artifact.max_difference <= 1e-5


def test_a_convolution_split_in_its_groups_is_refused(tmp_path, images, monkeypatch):
    monkeypatch.setattr(lowering, "forced", lambda _: lowering.contextlib.nullcontext())
    monkeypatch.setattr(lowering, "choose", lambda *_: "split")
    with pytest.raises(RuntimeError, match="0 grouped convolutions, where the model has 2"):
        export.export_tflite(keras_roots.RootNIN(root=8), tmp_path / "nin.tflite", images)
    assert [file.name for file in tmp_path.iterdir()] == []


def test_wrong_outputs_are_refused_and_an_old_file_stays(tmp_path, images, monkeypatch):
    path = tmp_path / "nin.tflite"
    path.write_bytes(b"old")
    model, other = keras_roots.RootNIN(), keras_roots.RootNIN()
    content = tflite._convert(other, (32, 32, 3))
    monkeypatch.setattr(tflite, "_convert", lambda *_: content)
    with pytest.raises(RuntimeError, match="differ from Keras's by up to"):
        export.export_tflite(model, path, images)
    assert path.read_bytes() == b"old"
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

    def convert_as_custom(*_):
        function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 32, 32, 3)))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
        converter.allow_custom_ops = True
        return converter.convert()

    monkeypatch.setattr(tflite, "_convert", convert_as_custom)
    with pytest.raises(RuntimeError, match="does not run by itself.*CUSTOM Erfinv"):
        export.export_tflite(model, tmp_path / "a.tflite", images)
    assert list(tmp_path.iterdir()) == []


def test_a_conversion_that_lost_its_variables_is_refused():
    # What the converter makes of a Keras model that it is handed beside its function: from some
    # versions of TensorFlow this, without an error; others abort the process.
    with pytest.raises(RuntimeError, match="VAR_HANDLE"):
        tflite._check_operators({"VAR_HANDLE": 3, "CONV_2D": 9}, 0, keras_roots.RootNIN(root=1))


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
    with pytest.raises(ValueError, match="one output of shape"):
        export.export_tflite(keras_roots.RootNIN(include_top=False), path, images)
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


def test_auxiliary_heads_are_not_exported(tmp_path):
    model = keras_roots.RootGoogLeNet(
        auxiliary_heads=True, input_shape=(80, 80, 3), classes=3, root=4
    )
    images = np.random.default_rng(0).normal(size=(2, 80, 80, 3)).astype(np.float32)
    artifact = export.export_tflite(model, tmp_path / "googlenet.tflite", images)
    # Three convolutions before nine modules of six; and one dense layer, not five.
    assert artifact.operators["CONV_2D"] == 3 + 9 * 6
    assert artifact.operators["FULLY_CONNECTED"] == 1
    run = tflite.make_interpreter(artifact.path).get_signature_runner()
    (scores,) = run(images=images[:1]).values()
    expected = model.predict(images[:1], verbose=0)["predictions"]
    np.testing.assert_allclose(scores, expected, atol=1e-5)
