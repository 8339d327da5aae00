"""`keras-roots benchmark`: its sub-commands but for networks and input."""

import csv
import re

import pytest

import keras_roots
from keras_roots.cli import main
from keras_roots.lowering import measured, tuning
from tests.colour_models import tables


def test_benchmark_of_building(capsys):
    arguments = ["nin", "--reference", "MobileNetV3Small", "--rounds", "1"]
    assert main(["benchmark", "build", *arguments]) == 0
    out = capsys.readouterr().out
    layers = len(keras_roots.RootNIN().layers)
    assert re.search(rf"\| nin_root-16 +\| +{layers} \|", out)
    assert "of the reference's time" in out


def test_benchmark_of_layers(tmp_path, capsys):
    path = tmp_path / "measured.json"
    arguments = ["--root", "16", "--precision", "int8", "--rounds", "1", "-o", str(path)]
    assert main(["benchmark", "layers", "nin", *arguments]) == 0
    (_, _, *rows), _ = tables(capsys.readouterr().out)
    assert {tuple(row[1:5]) for row in rows} == {("litert-int8", "forward", "1", "int8")}
    names = [row[5].removesuffix(" *") for row in rows if "in 16 groups" in row[0]]
    assert names == ["native", "packed-1", "packed-2", "packed-4", "packed-8", "split", "dense"]
    assert sum(row[5].endswith("*") for row in rows) == 3
    written = measured.read(path)
    assert tuning.of_this_machine(written.conditions["litert-int8"])
    assert {row.dtype for row in written.rows} == {"int8"}
    assert set(written.rows[1].milliseconds) == {*names} - {"split", "dense"}


@pytest.mark.slow
def test_benchmark_of_inference(tmp_path, capsys):
    path = tmp_path / "nin.csv"
    arguments = ["--root", "8", "--rounds", "1", "--threads", "2", "-o", str(path)]
    assert main(["benchmark", "inference", "nin", *arguments]) == 0
    out = capsys.readouterr().out
    for precision in ("float32", "int8"):
        (_, _, dense, grouped), *_ = tables(out.partition(f"nin, {precision}, 2 threads")[2])
        assert (dense[0], grouped[0]) == ("dense", "root-8")
        macs = [keras_roots.cost(keras_roots.RootNIN(root=root)).macs for root in (8, 1)]
        assert grouped[1] == f"{macs[0] / macs[1]:.3f}"
    assert "A large matrix product" in out
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3
    # Without its layers' groups, the bound is the dense network's own time.
    for row in rows:
        if row["topology"] == "root-1" and row["form"] == "auto":
            assert row["bound_ms"] == row["median_ms"]
        assert float(row["p10_ms"]) <= float(row["median_ms"]) <= float(row["p90_ms"])
    assert main(["benchmark", "plot", str(path), "-o", str(tmp_path / "nin.png")]) == 0
    assert (tmp_path / "nin.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_benchmark_of_simplifications_and_of_operators(tmp_path, capsys):
    assert main(["benchmark", "simplifications", "nin", "--root", "8", "--rounds", "1"]) == 0
    (_, _, *rows), _ = tables(capsys.readouterr().out)
    assert [row[0] for row in rows] == [
        *("stock", "normalisation folded", "padding folded", "unread pixels skipped"),
        *("sums merged", "lowerings chosen"),
    ]
    path = tmp_path / "nin.tflite"
    assert main(["export", "nin", "--root", "8", "-o", str(path)]) == 0
    capsys.readouterr()
    assert main(["benchmark", "operators", str(path), "--rounds", "1"]) == 0
    (_, _, *rows), _ = tables(capsys.readouterr().out)
    calls = {row[0]: int(row[1]) for row in rows[:-3]}
    assert sum(calls.values()) == 13
    assert calls["CONV_2D FLOAT32 1x8x8x192 kernel 192x3x3x48 -> 1x8x8x192"] == 1
    assert [row[0] for row in rows[-2:]] == ["sum", "the file"]


@pytest.mark.slow
def test_benchmark_of_inference_under_other_runtimes(capsys):
    for module in ("openvino", "onnxruntime", "tf2onnx"):
        pytest.importorskip(module)
    arguments = ["--root", "16", "--rounds", "1", "--precision", "float32"]
    arguments += ["--runtime", "openvino", "--runtime", "onnxruntime"]
    assert main(["benchmark", "inference", "nin", *arguments]) == 0
    (header, _, *rows), *_ = tables(capsys.readouterr().out.partition("thread\n\n")[2])
    assert header[-2:] == ["openvino, ms", "onnxruntime, ms"]
    assert all(float(cell) > 0 for row in rows for cell in row[-2:])


@pytest.mark.slow
def test_a_plot_of_steps(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["benchmark", "steps", "nin", "--root", "4", "--image-size", "12", "--rounds", "1"]
    assert main([*command, "--kind", "forward", "-o", "steps.csv"]) == 0
    assert main(["benchmark", "plot", "steps.csv", "-o", "steps.png"]) == 0
    assert (tmp_path / "steps.png").read_bytes().startswith(b"\x89PNG")
    assert main([*command, "--stock-root", "none", "-o", "ours.csv"]) == 0
    capsys.readouterr()
    assert main(["benchmark", "plot", "ours.csv", "-o", "ours.png"]) == 2
    assert "dense network of stock Keras was not timed" in capsys.readouterr().err
    assert not (tmp_path / "ours.png").exists()
