import csv
import dataclasses

import pytest

from keras_roots import paper
from keras_roots.cli import main
from keras_roots.paper import counts


def test_some_tables_are_exact():
    for each in paper.reproduce(["nin", "googlenet"]):
        assert each.complete
        assert {figure.verdict for _, figures in each.rows for figure in figures} == {counts.EXACT}
        assert not each.notes


def test_alexnet_is_exact_and_remarked_on():
    table, savings = paper.reproduce(["alexnet"])
    assert {figure.verdict for _, figures in table.rows for figure in figures} == {counts.EXACT}
    (note,) = table.notes
    assert "parameters are 2.3% fewer" in note
    assert "57% more multiply-accumulates" in note
    ((_, (figure,)),) = savings.rows
    assert (figure.published, figure.computed, figure.verdict) == ("57%", "2.3%", counts.EXPLAINED)


@pytest.mark.slow
def test_the_whole_paper_is_exact_or_explained():
    lines = []
    reproductions = paper.reproduce(report=lines.append)
    assert len(lines) == 7 + 7 + 5 + 13 + 3
    assert all(each.complete for each in reproductions)
    explained = {
        (each.title, figure.quantity)
        for each in reproductions
        for _, figures in each.rows
        for figure in figures
        if figure.verdict == counts.EXPLAINED
    }
    assert explained == {
        ("Table 3: ResNet-200", "parameters"),
        ("Table 3: ResNet-200", "multiply-accumulates"),
        ("Savings that the text names", "saved"),
    }
    (resnet200,) = (each for each in reproductions if each.title == "Table 3: ResNet-200")
    macs = {name: figures[1].computed for name, figures in resnet200.rows}
    assert [round(int(macs[name].replace(",", "")) / 1e8) for name in ("original", "root-32")] == [
        150,
        82,
    ]
    assert "2,045,952 lower" in resnet200.notes[0]
    assert (
        "root-32 saves 46% of the multiply-accumulates, where the paper says 25%"
        in (resnet200.notes[2])
    )


def change(monkeypatch, name, **changes):
    published = counts._TABLES[name]
    first, *others = published.variants
    variants = (dataclasses.replace(first, **changes), *others)
    monkeypatch.setitem(counts._TABLES, name, dataclasses.replace(published, variants=variants))


def test_a_figure_that_differs_is_told(monkeypatch, capsys):
    change(monkeypatch, "nin", parameters=966_987)
    assert main(["reproduce", "nin"]) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if "original" in line)
    assert line.split() == [
        *("original", "966,987", "966,986", "DIFFERS", "222,487,946", "222,487,946", "exact"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"parameters": 1}, {"macs": 1}])
def test_the_reasons_are_no_excuse_for_other_figures(monkeypatch, changes):
    change(monkeypatch, "resnet200", **changes)
    table, savings = paper.reproduce(["resnet200"])
    assert not table.complete
    assert not savings.complete
    assert not table.notes


def test_a_printed_figure_that_is_rounded_otherwise(monkeypatch):
    change(monkeypatch, "nin", printed_parameters="966987.00")
    assert not paper.reproduce(["nin"])[0].complete


def test_formats(capsys):
    assert main(["reproduce", "nin", "--format", "csv"]) == 0
    captured = capsys.readouterr()
    rows = list(csv.DictReader(captured.out.splitlines()))
    assert len(rows) == 13 * 2
    assert {row["verdict"] for row in rows} == {"exact"}
    assert all(row["published"] == row["computed"] for row in rows)
    assert "13/13 nin tree-16" in captured.err
    assert main(["reproduce", "alexnet", "--format", "markdown"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("### Full paper: AlexNet\n\n| network ")
    assert "57% fewer connection weights" in out


def test_an_unknown_table():
    with pytest.raises(ValueError, match="'vgg'.*resnet50, resnet200, googlenet, nin, alexnet"):
        paper.reproduce(["vgg"])
