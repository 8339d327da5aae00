"""`keras-roots plan`."""

import csv

import keras
import pytest

import keras_roots
from keras_roots.cli import main
from tests.colour_models import tables
from tests.sample_models import small_model


@pytest.fixture(scope="module", name="files")
def save_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    small_model((8, 8, 8, 8)).save(folder / "small.keras")
    small_model((8, 8, 8, 8), image=(None, None, 3)).save(folder / "open.keras")
    keras_roots.RootNIN(root=8).save(folder / "grouped.keras")
    inputs = keras.Input((8,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs), name="flat").save(folder / "flat.keras")
    return folder


def test_plans_of_a_network_by_name(capsys):
    assert main(["plan", "nin", "--budget", "macs=0.5,parameters=0.4", "--limit", "4"]) == 0
    captured = capsys.readouterr()
    summary, levels, _, best, _, named, notes = tables(captured.out)
    assert "972,658 parameters, 222,486,528 multiply-accumulates" in summary[0][0]
    assert [row[2] for row in levels[2:]] == ["1 to 32", "1 to 64"]
    # 16,2 keeps 460,800/16 + 331,776/2 weights.
    parameters = 972_658 - (460_800 + 331_776) + 460_800 // 16 + 331_776 // 2
    assert best[2][:5] == ["16,2", "*", "0.246", f"{parameters:,}", f"{parameters / 972_658:.3f}"]
    assert len(best) == len(named) == 2 + 4
    assert [row[1] for row in named[2:]] == ["root-8", "column-8", "tree-8", "root-16"]
    assert "Not known: accuracy" in notes[-1][0]
    assert "keras-roots: written" not in captured.err


def test_options_of_the_factory_and_other_formats(capsys):
    options = ["--image-size", "64", "--classes", "5", "--set", "stride_in_1x1=false"]
    budget = ["--budget", "macs=0.8", "--family", "root", "--max-degree", "16"]
    assert main(["plan", "resnet50", *budget, *options, "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["topology"] for row in rows] == ["root-8", "root-16"]
    sizes = {"input_shape": (64, 64, 3), "classes": 5}
    built = keras_roots.RootResNet50(root=8, stride_in_1x1=False, **sizes)
    assert rows[0]["root"] == "8,4,2,1"
    assert rows[0]["parameters"] == str(built.count_params())
    assert rows[0]["macs"] == str(keras_roots.cost(built).macs)
    assert rows[0]["top1_of_the_paper"] == "0.7337"


def test_plans_of_a_file(files, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path = str(files / "open.keras")
    outputs = ["--csv", str(tmp_path / "a.csv"), "--plot", str(tmp_path / "a.svg")]
    arguments = ["--budget", "macs=0.7", "--budget", "parameters=1", "--image-size", "16"]
    assert main(["plan", path, *arguments, "--all", "--format", "markdown", *outputs]) == 0
    captured = capsys.readouterr()
    assert f"keras_roots.rootify(keras.models.load_model({path!r}), (" in captured.out
    assert "### Plans that meet the budget" in captured.out
    assert captured.err.count("keras-roots: written") == 2
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    model = small_model((8, 8, 8, 8))
    for row in rows:
        rooted = keras_roots.rootify(model, keras_roots.topology.parse(row["root"]), report=None)
        assert int(row["macs"]) == keras_roots.cost(rooted).macs
        assert f"| {row['root']} " in captured.out or len(rows) > 10
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_latency_of_a_file(files, capsys):
    command = ["plan", str(files / "small.keras"), "--family", "column", "--max-degree", "2"]
    command += ["--rounds", "2", "--measure", "0"]
    assert main([*command, "--budget", "macs=0.9", "--latency", "litert"]) == 0
    captured = capsys.readouterr()
    assert "2/2 small, level 1: litert, CPU, float32, batch 1, 1 thread" in captured.err
    assert "ms, predicted" in captured.out
    assert "Largest error" not in captured.out  # Nothing was measured as it is.
    # Without a runtime it is LiteRT's; how long a minute is to it is known only then.
    assert main([*command, "--budget", "latency=60s"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "latency=60s is more than the dense network's latency" in error
