"""`keras-roots export`, from the command line."""

import keras
import numpy as np
import pytest

import keras_roots
from keras_roots.cli import main
from keras_roots.export import attachments
from tests.colour_models import tables


def test_export_of_a_file_and_of_a_network_by_name(tmp_path, capsys):
    saved, output = tmp_path / "nin.keras", tmp_path / "nin.tflite"
    keras_roots.RootNIN(root=8, include_top=False, pooling="avg", input_shape=(None, None, 3)).save(
        saved
    )
    assert main(["export", str(saved), "-o", str(output)]) == 2
    assert "leaves its image size open: give --image-size" in capsys.readouterr().err
    assert not output.exists()
    assert main(["export", str(saved), "--image-size", "32", "-o", str(output)]) == 0
    out = capsys.readouterr().out
    assert "compared with Keras on 8 inputs, in LiteRT" in out
    assert "XNNPACK: runs all of it, in one piece" in out
    assert f"{output.stat().st_size:,} bytes, tflite, float32" in out
    _, (header, _, *rows), *_ = tables(out)
    assert header == ["layer", "shape", "lowering", "why"]
    layers = [row[0].rpartition("/")[2] for row in rows]
    assert layers == ["conv1_1_conv", "conv2_1_conv", "conv3_1_conv"]
    again = ["export", "nin", "--root", "8", "--classes", "3", "-o", str(output)]
    assert main(again) == 2
    assert "already" in capsys.readouterr().err
    assert main([*again, "--overwrite"]) == 0
    captured = capsys.readouterr()
    assert "the weights are random" in captured.err
    assert "9 CONV_2D" in captured.out


def test_export_in_int8_tuned(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for n in range(20):
        keras.utils.save_img(images / f"{n}.png", rng.uniform(0, 255, (32, 32, 3)), scale=False)
    output = tmp_path / "nin.tflite"
    arguments = ["--root", "8", "--precision", "int8", "--calibration", str(images)]
    arguments += ["--preprocessing", "torch", "--lowering", "tuned", "-o", str(output)]
    assert main(["export", "nin", *arguments]) == 0
    captured = capsys.readouterr()
    assert "measuring layer 3 of 3" in captured.err
    assert captured.out.count("measured on this machine") == 3
    assert "ranges of activations are those of 12 images" in captured.out
    assert "warning: The ranges of integers are taken from 12 images only" in captured.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "images", "nin.tflite"]


def test_a_file_far_from_keras_is_written_with_a_warning(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for name, largest in (("dark", 2), ("bright", 255)):
        (tmp_path / name).mkdir()
        for n in range(32):
            path = tmp_path / name / f"{n}.png"
            keras.utils.save_img(path, rng.uniform(0, largest, (16, 16, 3)), scale=False)
    saved, output = tmp_path / "model.keras", tmp_path / "model.tflite"
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x)).save(saved)
    arguments = ["export", str(saved), "-o", str(output), "--precision", "int8", "--overwrite"]
    verified = ["--verification", str(tmp_path / "bright"), "--calibration"]
    assert main([*arguments, *verified, str(tmp_path / "bright")]) == 0
    captured = capsys.readouterr()
    assert "signal-to-noise ratio" in captured.out
    assert "far from Keras" not in captured.err
    assert main([*arguments, "--tolerance", "9", *verified, str(tmp_path / "dark")]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert warnings[0].startswith("warning: the outputs are far from Keras's")


@pytest.mark.parametrize("name", ["nin.stablehlo", pytest.param("1", marks=pytest.mark.slow)])
def test_export_in_other_formats(tmp_path, capsys, name):
    output, labels = tmp_path / name, tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    arguments = ["--root", "8", "--classes", "2", "--image-size", "16", "--labels", str(labels)]
    assert main(["export", "nin", *arguments, "-o", str(output)]) == 0
    captured = capsys.readouterr()
    assert "in another process" in captured.out
    assert "To run it:" in captured.out
    if output.is_file():
        assert attachments.read(output)[1] == ("cat", "dog")
    else:
        assert (output / "assets.extra" / "labels.txt").read_text() == labels.read_text()
