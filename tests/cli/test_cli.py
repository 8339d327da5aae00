import csv
import re
import subprocess
import sys

import keras
import pytest

import keras_roots
from keras_roots.cli import main
from tests.colour_models import tables
from tests.sample_models import Scale


def test_cost_prints_layers_and_stages(capsys):
    assert main(["cost", "nin"]) == 0
    by_layer, by_stage = tables(capsys.readouterr().out)
    expected = keras_roots.cost(keras_roots.RootNIN(root=1))
    total = [f"{expected.parameters:,}", f"{expected.macs:,}"]
    assert by_layer[-1] == ["total", *total]
    assert by_stage[-1] == ["total", str(len(expected.layers)), *total]
    assert [row[0] for row in by_layer[2:-2]] == [layer.name for layer in expected.layers]
    assert len(by_stage) == 2 + 3 + 2


def test_cost_of_dense_and_grouped_side_by_side(capsys):
    assert main(["cost", "resnet50", "--root", "16"]) == 0
    by_layer, _ = tables(capsys.readouterr().out)
    assert by_layer[-1] == [
        *("total", "25,610,216", "18,797,288", "-27%"),
        *("3,857,973,248", "2,434,580,480", "-37%"),
    ]


def test_cost_under_the_papers_convention(capsys):
    assert main(["cost", "nin", "--root", "tree-4", "--convention", "paper", "--by", "total"]) == 0
    (rows,) = tables(capsys.readouterr().out)
    assert rows[-1] == ["nin_tree-4", "331,082 (-65.8%)", "115,434,890 (-48.1%)"]


def test_cost_of_other_sizes_and_options(capsys):
    arguments = ["--root", "2,1,1,1", "--image-size", "64", "--classes", "5", "--format", "csv"]
    arguments += ["--set", "stride_in_1x1=false", "--by", "total"]
    assert main(["cost", "resnet50", *arguments]) == 0
    model = keras_roots.RootResNet50(
        root=(2, 1, 1, 1), input_shape=(64, 64, 3), classes=5, stride_in_1x1=False
    )
    name, parameters, macs = list(csv.reader(capsys.readouterr().out.splitlines()))[-1]
    assert name == "resnet50_degrees-2-1-1-1"
    assert parameters.split()[0].replace(",", "") == str(model.count_params())
    assert macs.split()[0].replace(",", "") == str(keras_roots.cost(model).macs)


def test_cost_of_a_file(tmp_path, capsys):
    path = tmp_path / "model.keras"
    keras_roots.RootNIN(root=1, include_top=False, input_shape=(None, None, 3)).save(path)
    assert main(["cost", str(path)]) == 2
    assert "leaves its image size open: give --image-size" in capsys.readouterr().err
    plot = tmp_path / "bars.png"
    arguments = ["--root", "8", "--image-size", "32", "--plot", str(plot)]
    assert main(["cost", str(path), *arguments]) == 0
    captured = capsys.readouterr()
    by_layer, _ = tables(captured.out)
    dense, grouped = (
        keras_roots.cost(keras_roots.RootNIN(root=root, include_top=False)).macs for root in (1, 8)
    )
    assert by_layer[-1][4:6] == [f"{dense:,}", f"{grouped:,}"]
    assert str(plot) in captured.err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["bars.png", "model.keras"]


def test_cost_of_files_with_other_inputs_than_one_open_image(tmp_path, capsys):
    conv = keras.layers.Conv2D(4, 3)
    fixed, first = keras.Input((8, 8, 3)), keras.Input((3, 8, None))
    channels_first = keras.layers.Conv2D(4, 3, data_format="channels_first")(first)
    models = {
        "fixed": keras.Model(fixed, conv(fixed), name="fixed"),
        "several": keras.Model([fixed, keras.Input((4,))], conv(fixed)),
        "first": keras.Model(first, channels_first),
    }
    for name, model in models.items():
        models[name] = str(tmp_path / f"{name}.keras")
        model.save(models[name])
    models["unbuilt"] = str(tmp_path / "unbuilt.keras")
    with pytest.warns(UserWarning, match="not yet been built"):
        keras.Sequential([keras.layers.Conv2D(4, 3)]).save(models["unbuilt"])
    for name in ("fixed", "several"):
        assert main(["cost", models[name], "--by", "total", "--format", "csv"]) == 0
        assert capsys.readouterr().out.splitlines()[-1].endswith(",112,3888")
    for name, message in {
        "fixed": "takes images of (8, 8, 3) only",
        "several": "has inputs of (8, 8, 3), (4,)",
        "unbuilt": "inputs of unknown shapes",
    }.items():
        assert main(["cost", models[name], "--image-size", "16"]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["cost", models["unbuilt"]]) == 2
    assert "has not been built" in capsys.readouterr().err
    assert main(["cost", models["first"], "--image-size", "8", "--by", "total"]) == 0
    assert capsys.readouterr().out.split()[-1] == "3,888"


def test_files_that_are_no_models(tmp_path, capsys):
    names = ("broken", "cut", "lambda", "custom")
    broken, cut, lambdas, custom = (tmp_path / f"{name}.keras" for name in names)
    broken.write_text("no model")
    inputs = keras.Input((4,))
    keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs)).save(lambdas)
    keras.Model(inputs, Scale(2.0)(inputs)).save(custom)
    cut.write_bytes(custom.read_bytes()[:-100])
    # As in a process that has not imported what defines it.
    del keras.saving.get_custom_objects()["tests>Scale"]
    for path, message in (
        (broken, "no whole .keras file"),
        (cut, "no whole .keras file"),
        (lambdas, "holds code, which is not run from here.*safe_mode=False"),
        (custom, "Could not locate class 'Scale'.*custom_objects="),
    ):
        for command in (["cost", str(path)], ["export", str(path), "-o", str(tmp_path / "a.onnx")]):
            assert main(command) == 2
            error = capsys.readouterr().err
            assert "cannot be loaded as a Keras model" in error
            assert re.search(message, error)
            assert error.count("\n") == 1
    keras.saving.register_keras_serializable("tests")(Scale)
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cost", "resnet51"], "Did you mean 'resnet50'"),
        (["cost", "missing.keras"], "no file 'missing.keras'"),
        (["cost", "model.h5"], "or a .keras file, as model.save writes"),
        (["cost", "nin", "--set", "root=4"], "root has an option of its own: --root"),
        (["cost", "vgg11", "--set", "geometry=szegedy"], "vgg11 has no option 'geometry'"),
        (["cost", "googlenet", "--set", "geometry=deep"], "Expected geometry as one of"),
        (["cost", "nin", "--plot", "bars.txt"], "ends in .png, .pdf or .svg"),
        (["cost", "nin", "--plot", "missing/bars.png"], "no folder 'missing'"),
        (["reproduce", "vgg"], "Unknown table 'vgg'"),
        (["cost", "nin", "--root", "64"], "do not divide the channels of layer 'conv2_1_conv'"),
        (["cost", "nin", "--classes", "0"], "classes as a positive integer"),
        (["cost", "nin", "--image-size", "2"], "8x8 pixels or more"),
        (["demo", "--data-dir", "somewhere"], "data_dir is for cifar10 only"),
        (["demo", "--dataset", "cifar10", "--data-dir", "missing"], "no data folder 'missing'"),
        (["demo", "--root", "1"], "--root 2 or more"),
        (["benchmark", "build", "nin", "--reference", "ResNet51"], "Did you mean 'ResNet50'"),
        (["benchmark", "build", "nin", "--rounds", "0"], "rounds of 1 or more"),
        (["benchmark", "steps", "vgg"], "Unknown model 'vgg'"),
        (["export", "nin", "-o", "missing/a.tflite"], "no folder 'missing'"),
        (["export", "resnet51", "-o", "a.tflite"], "Did you mean 'resnet50'"),
        (["export", "a.keras", "-o", "a.tflite"], "no file 'a.keras'"),
        (["export", "a.keras", "--root", "8", "-o", "a.tflite"], "--root is for networks"),
        (["export", "nin", "--weights", "a.weights.h5", "-o", "a.tflite"], "a.weights.h5"),
        (["export", "nin", "-o", ".", "--format", "tflite"], "a folder where a file"),
        (["export", "nin", "-o", "."], "There is '.' already"),
        (["export", "nin", "-o", "a.bin"], "ends in .tflite, .stablehlo or .onnx"),
        (["export", "nin", "-o", "missing/1"], "no folder"),
        (["export", "nin", "--batch", "0", "-o", "a.tflite"], "--batch of 1 or more"),
        (["export", "nin", "--batch", "1", "--batch", "2", "-o", "a.tflite"], "of one --batch"),
        (["export", "nin", "--precision", "int8", "-o", "a.onnx"], "--precision is of TFLite"),
        (["export", "nin", "--source-size", "8x8", "-o", "a.tflite"], "--embed-preprocessing"),
        (["export", "nin", "--tolerance", "0", "-o", "a.tflite"], "--tolerance above 0"),
        (["export", "nin", "--labels", "missing.txt", "-o", "a.tflite"], "no file of labels"),
        (
            ["export", "nin", "--calibration-images", "0", "-o", "a.onnx"],
            "-images of 1 or more",
        ),
        (["benchmark", "inference", "nin"], "do not divide the channels"),
        (["benchmark", "inference", "nin", "--set", "geometry=x"], "nin has no option 'geometry'"),
        (["export", "nin", "--threads", "0", "-o", "a.tflite"], "--threads of 1 or more"),
        (["export", "nin", "--image-size", "0", "-o", "a.tflite"], "--image-size of 1 or more"),
        (["export", "nin", "--precision", "int8", "-o", "a.tflite"], "give --calibration DIR"),
        (
            ["export", "nin", "--precision", "int8", "--calibration", ".", "-o", "a.tflite"],
            "There are no images in '.'",
        ),
        (["export", "nin", "--calibration", "missing", "-o", "a.tflite"], "no folder of images"),
        (["benchmark", "layers", "nin", "--rounds", "0"], "rounds and threads of 1 or more"),
        (["benchmark", "layers", "nin", "-o", "missing/a.json"], "no folder 'missing'"),
        (["benchmark", "plot", "missing.csv", "-o", "a.png"], "no file 'missing.csv'"),
        (["benchmark", "plot", __file__, "-o", "a.png"], "no CSV file of benchmark inference"),
        (["benchmark", "plot", "missing.csv", "-o", "a.txt"], "ends in .png, .pdf or .svg"),
        (["benchmark", "layers", "nin", "net"], "Unknown model 'net'"),
        (["benchmark", "simplifications", "nin", "--rounds", "0"], "rounds and threads of 1"),
        (["benchmark", "operators", "missing.tflite"], "no file 'missing.tflite'"),
        (["benchmark", "operators", __file__], "is no TFLite file"),
        (["benchmark", "inference", "nin", "--threads", "0"], "rounds and threads of 1 or more"),
        (["benchmark", "inference", "nin", "-o", "missing/a.csv"], "no folder 'missing'"),
        (["benchmark", "steps", "nin", "--rounds", "0"], "batch_size and rounds of 1"),
        (["benchmark", "steps", "nin", "--batch-size", "0"], "batch_size and rounds of 1"),
        (["benchmark", "steps", "nin", "--lowering", "fast"], "Expected --lowering"),
        (["benchmark", "steps", "nin", "--set", "geometry=x"], "nin has no option 'geometry'"),
        (["benchmark", "steps", "nin", "-o", "missing/a.csv"], "no folder 'missing'"),
        (["benchmark", "lowerings", "net"], "Unknown model 'net'"),
        (["benchmark", "lowerings", "nin", "--rounds", "0"], "rounds and batch sizes of 1"),
        (["benchmark", "lowerings", "nin", "-o", "missing/a.json"], "no folder 'missing'"),
        (["benchmark", "accelerator", "net", "-o", "results"], "Unknown model 'net'"),
        (["lowerings", "net"], "Unknown model 'net'"),
        (["lowerings", "a.keras"], "no file 'a.keras'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("keras-roots: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("3", "power of two"),
        ("0", "at least 1"),
        ("-4", "at least 1"),
        ("16,0", "at least 1"),
        ("sixteen", "expected 16, column-8"),
        ("16,x", "expected 16, column-8"),
        ("ring-4", "expected 16, column-8"),
    ],
)
def test_a_root_that_is_none(root, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["cost", "nin", f"--root={root}"])
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_results_folder_that_is_not_empty_stays_as_it_is(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", "-o", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_interrupted(monkeypatch, capsys):
    def interrupt(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_roots.benchmark.demo.run", interrupt)
    assert main(["demo"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_an_export_that_is_wrong_is_exit_code_1(monkeypatch, capsys):
    def fail(**_):
        raise RuntimeError("the outputs differ")

    monkeypatch.setattr("keras_roots.benchmark.demo.run", fail)
    assert main(["demo"]) == 1
    assert "the outputs differ" in capsys.readouterr().err


def test_as_a_module():
    result = subprocess.run(
        [sys.executable, "-m", "keras_roots", "cost", "nope"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert "Unknown model 'nope'" in result.stderr
    assert "Traceback" not in result.stderr


def test_lowerings_of_a_network_and_of_a_file(tmp_path, capsys):
    assert main(["lowerings", "nin", "--root", "8", "--context", "xla-cpu"]) == 0
    ((header, _, *rows),) = tables(capsys.readouterr().out)
    assert header == ["layer", "shape", "pass", "lowering", "why"]
    found = {tuple(row[1:4]) for row in rows if "8 groups" in row[1]}
    shape = "16x16x96, 5x5, 192 filters in 8 groups"
    assert {direction for each, direction, _ in found if each == shape} == {
        "forward",
        "input gradient",
        "kernel gradient",
    }
    saved = tmp_path / "stock.keras"
    keras_roots.to_stock(keras_roots.RootNIN()).save(saved)
    assert main(["lowerings", str(saved)]) == 2
    assert "has no convolution of keras_roots" in capsys.readouterr().err
