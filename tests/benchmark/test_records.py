import csv
import dataclasses
import json

import numpy as np
import pytest

from keras_roots.benchmark import comparison, networks_plot, networks_table, records
from keras_roots.benchmark.accuracies import accuracies
from keras_roots.cli import main
from tests.measured_networks import GPU, INT8, LITERT, MACS, results


def cells(table, row):
    """A row by its columns' names; of those of one name, the first."""
    found = {}
    for name, cell in zip(table.header, table.rows[row], strict=True):
        found.setdefault(name, cell)
    return found


def test_percentiles_are_of_all_inferences_in_milliseconds():
    milliseconds = np.arange(1.0, 101.0)
    rounds = tuple(map(tuple, (milliseconds.reshape(20, 5) / 1e3).tolist()))
    record = dataclasses.replace(results().records[0], seconds=rounds)
    assert record.n == 100
    assert record.times() == pytest.approx(
        {"p50_ms": 50.5, "p90_ms": 90.1, "p99_ms": 99.01, "min_ms": 1.0}
    )
    assert record.spread == pytest.approx((90.1 - 10.9) / 50.5)


def test_json_and_back(tmp_path):
    path = tmp_path / "a.json"
    written = results(LITERT, GPU)
    records.write_json(path, written)
    found = records.read(path)
    assert found.records == written.records
    assert found.conditions == written.conditions
    row = json.loads(path.read_text())["records"][1]
    assert row["topology"] == "root-2"
    assert row["n"] == 32
    assert row["p50_ms"] == pytest.approx(1e3 * np.median(row["seconds"]))
    assert row["ratio_low"] <= row["ratio_to_dense"] <= row["ratio_high"]
    assert row["ratio_to_dense"] == pytest.approx(0.95, rel=0.02)


def test_csv_has_a_row_each_with_the_conditions(tmp_path):
    path = tmp_path / "a.csv"
    records.write_csv(path, results(LITERT, INT8, flags="avx2"))
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["topology"] for row in rows] == [*MACS, *MACS]
    assert {row["flags"] for row in rows} == {"avx2"}
    assert "seconds" not in rows[0]
    assert all(float(row["min_ms"]) <= float(row["p50_ms"]) for row in rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(format=2), "its format is not 1"),
        (lambda content: content.pop("conditions"), "it has no conditions"),
        (lambda content: content.update(records=[]), "it has no records"),
        (lambda content: content.update(records=[1]), "a record is no object"),
        (lambda content: content["records"][0].pop("runtime"), "a record's runtime is None"),
        (lambda content: content["records"][0].update(batch="1"), "a record's batch is '1'"),
        (lambda content: content["records"][0].update(batch=True), "a record's batch is True"),
        (lambda content: content["records"][0].update(load_s=-1), "a record's load_s is -1"),
        (lambda content: content["records"][0].pop("memory_mib"), "a record's memory_mib is None"),
        (lambda content: content["records"][0].update(seconds=[]), "a record has no seconds"),
        (lambda content: content["records"][0].update(seconds=[[0.1], [0.1, 0.2]]), "as many in"),
        (lambda content: content["records"][0].update(seconds=[["0.1"]]), "no positive numbers"),
        (lambda content: content["records"][0].update(seconds=[[0.0]]), "no positive numbers"),
        (lambda content: content["records"][0].update(seconds=[[0.1]]), "not as many rounds"),
    ],
)
def test_files_of_another_kind(tmp_path, change, message):
    path = tmp_path / "a.json"
    records.write_json(path, results())
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a\.json' is no JSON file of benchmark networks: ") as e:
        records.read(path)
    assert message in str(e.value)


@pytest.mark.parametrize("content", [b"", b"[1]", b"network,topology\n", b"\xff\xfe"])
def test_files_that_are_no_json(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is no JSON file of benchmark networks"):
        records.read(path)


def test_the_table_is_like_the_papers():
    ((title, table),) = networks_table.tables(results(LITERT, INT8), accuracies("paper"))
    assert title == "resnet50: litert, batch 1, 1 thread"
    assert [row[0] for row in table.rows] == ["dense", "root-2", "root-16"]
    dense, grouped = cells(table, 0), cells(table, 2)
    assert dense["multiply-accumulates, x10^9 (/ dense)"] == "4.00"
    assert grouped["multiply-accumulates, x10^9 (/ dense)"] == "2.00 (0.50)"
    assert grouped["top-1"] == "0.732"
    assert float(dense["CPU, ms: float32"]) == pytest.approx(40, rel=0.02)
    assert float(grouped["CPU, ms: int8"]) == pytest.approx(20, rel=0.02)
    assert (dense["/ dense"], grouped["/ dense"]) == ("1", "0.50")
    assert {row[-1] for row in table.rows} == {"not measured"}
    assert table.header[-1] == "GPU, ms"


def test_the_table_with_a_gpu_and_with_noise():
    ((_, table),) = networks_table.tables(results(LITERT, GPU, noise=0.6))
    grouped = cells(table, 2)
    assert grouped["CPU, ms: litert"].startswith("~")
    assert grouped["GPU, ms: jax"].startswith("~")
    assert grouped["/ dense"].startswith("too noisy (")
    assert not any("not measured" in row for row in table.rows)
    ((_, table),) = networks_table.tables(results(LITERT, rounds=2))
    assert cells(table, 1)["/ dense"] == "too few rounds (under 6)"


def test_the_papers_columns():
    ((_, table),) = networks_table.tables(results(), beside_paper=True)
    first = table.header.index("paper: top-1")
    # Table 1 of the paper, and its author's accuracies.
    assert list(table.header[first:]) == [
        *("paper: top-1", "paper: top-5", "paper: CPU, ms", "/ original", "paper: GPU, ms"),
        "/ original",
    ]
    assert [list(row[first:]) for row in table.rows] == [
        ["0.730", "0.916", "621", "1.00", "11.6", "1.00"],
        ["0.727", "0.912", "520", "0.84", "11.1", "0.96"],
        ["0.732", "0.918", "479", "0.77", "10.1", "0.87"],
    ]
    notes = "\n".join(networks_table.notes(results(), beside_paper=True))
    assert "Titan Z" in notes
    assert "stride in the first 1x1" in notes


def test_a_network_that_the_paper_has_not():
    session = dataclasses.replace(LITERT, network="vgg16")
    ((_, table),) = networks_table.tables(results(session), beside_paper=True)
    assert not any("paper" in name for name in table.header)
    assert "The paper has no figures of vgg16." in networks_table.notes(
        results(session), beside_paper=True
    )


def test_notes_name_the_rules_and_what_else_ran():
    notes = "\n".join(networks_table.notes(results(busy=1.25)))
    assert "5% or less to either side" in notes
    assert "wider than 20%" in notes
    assert "other processes kept 1.2 cores busy" in notes
    assert "cores busy" not in "\n".join(networks_table.notes(results()))


def test_details_have_all_percentiles():
    table = networks_table.details(results())
    row = cells(table, 0)
    assert (row["load, ms"], row["first inference, ms"], row["inferences"]) == ("250", "1500", "32")
    assert row["memory, MiB"] == "120"
    assert float(row["minimum"]) <= float(row["p50, ms"]) <= float(row["p90"]) <= float(row["p99"])


def test_accuracies_of_a_file(tmp_path):
    path = tmp_path / "accuracies.csv"
    path.write_text("network,topology,top1,top5\nresnet50,1,0.75,0.92\nresnet50,16,0.74,\n")
    found = accuracies(str(path))
    ((_, table),) = networks_table.tables(results(), found)
    assert [row[3:5] for row in map(list, table.rows)] == [
        ["0.750", "0.920"],
        ["", ""],
        ["0.740", ""],
    ]
    assert any(str(path) in note for note in networks_table.notes(results(), found))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network,top1\nresnet50,0.7\n", "expected columns network, topology, top1"),
        ("network,topology,top1\nresnet50,16,73\n", "0 to 1; received 73"),
        ("network,topology,top1\nresnet50,16,high\n", "'high'"),
        ("network,topology,top1\nresnet50,16\n", "'nothing'"),
        ("network,topology,top1\nnin,1,0.9\nnin,dense,0.9\n", "nin dense is there twice"),
    ],
)
def test_files_that_are_no_accuracies(tmp_path, text, message):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"a\.csv' is no CSV file of accuracies") as error:
        accuracies(str(path))
    assert message in str(error.value)


def test_compare(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    records.write_json(old, results(LITERT, INT8))
    records.write_json(new, results(LITERT, GPU, seed=1, factor=0.5, processor="B"))
    assert main(["benchmark", "compare", str(old), str(new)]) == 0
    out = capsys.readouterr().out
    assert "- processor: A; B" in out
    pairs = comparison.compare(records.read(old), records.read(new))
    assert [pair.new.session for pair in pairs] == [LITERT] * 3
    row = cells(comparison.table(pairs), 2)
    assert row["new / old"].startswith("0.50 (")
    assert (row["old / dense"], row["new / dense"]) == ("0.50", "0.50")
    assert main(["benchmark", "compare", str(old), str(old)]) == 0
    out = capsys.readouterr().out
    assert out.count("no difference to tell") == 6
    assert "The conditions are the same." in out


def test_compare_what_is_too_noisy():
    old = results(noise=0.5)
    slower = comparison.compare(old, results(seed=1, noise=0.5, factor=3))
    assert comparison.table(slower).rows[0][5].startswith("too noisy (")
    similar = comparison.compare(old, results(seed=1, noise=0.5))
    assert comparison.table(similar).rows[0][5].startswith("no difference to tell (")
    few = comparison.compare(old, results(rounds=2))
    assert comparison.table(few).rows[0][5] == "too few rounds (under 6)"


def test_compare_what_has_nothing_in_common(tmp_path, capsys):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    records.write_json(old, results(LITERT))
    records.write_json(new, results(INT8))
    assert main(["benchmark", "compare", str(old), str(new)]) == 2
    assert "two that have none" in capsys.readouterr().err
    assert main(["benchmark", "compare", str(old), str(tmp_path / "missing.json")]) == 2
    assert "There is no file" in capsys.readouterr().err


def test_figures(tmp_path):
    path = tmp_path / "figure.png"
    networks_plot.plot(path, results(LITERT, INT8, GPU), accuracies("paper"))
    with_errors = path.read_bytes()
    networks_plot.plot(path, results(LITERT, rounds=2))
    assert with_errors != path.read_bytes()


def test_what_a_figure_says(tmp_path):
    """Text in an SVG file is text, if asked for."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        networks_plot.plot(tmp_path / "a.svg", results(LITERT, INT8), accuracies("paper"))
        networks_plot.plot(tmp_path / "b.svg", results(LITERT))
    text = (tmp_path / "a.svg").read_text()
    for words in ("top-1 error, %", "CPU latency, ms", "not measured", ">16<", ">dense<",
                  "CPU: int8", "published by the paper, not measured here"):  # fmt: skip
        assert words in text
    text = (tmp_path / "b.svg").read_text()
    for words in ("parameters / dense", "CPU latency / dense", "not measured", ">root-16<"):
        assert words in text


def test_the_command_figure(tmp_path, capsys):
    file, picture = tmp_path / "a.json", tmp_path / "a.png"
    records.write_json(file, results())
    assert main(["benchmark", "figure", str(file), "--accuracy", "paper", "-o", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    session = dataclasses.replace(LITERT, network="vgg16")
    records.write_json(file, results(session))
    picture.unlink()
    assert main(["benchmark", "figure", str(file), "--accuracy", "paper", "-o", str(picture)]) == 2
    assert "There is no accuracy of vgg16 dense" in capsys.readouterr().err
    assert main(["benchmark", "figure", str(file), "-o", str(tmp_path / "a.txt")]) == 2
    assert not picture.exists()
