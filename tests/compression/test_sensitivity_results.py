"""What a sensitivity scan found, as a table, a CSV file and a picture."""

import csv

import pytest
import tensorflow as tf

from keras_roots.compression.sensitivity_results import Row, Sensitivity, mcnemar
from tests.colour_models import (
    tables,
)


def some_rows(layer_count=3):
    return tuple(
        Row(f"layer{n}", 1 + n, 1000 * (n + 1), change, 200, 100 - lost + gained, lost, gained)
        for n in range(layer_count)
        for change, lost, gained in (("sparsity 0.5", 3, 1 + n), ("4 bits", 30 + n, 2))
    )


def test_table_and_csv(tmp_path):
    found = Sensitivity("some", 200, 100, some_rows())
    header, _, *rows = tables(found.table().text())[0]
    assert header == ["layer", "groups", "parameters", "sparsity 0.5", "4 bits"]
    assert rows == [
        ["layer0", "1", "1,000", "~1.00", "14.00"],
        ["layer1", "2", "2,000", "~0.50", "14.50"],
        ["layer2", "3", "3,000", "~0.00", "15.00"],
    ]
    found.write_csv(tmp_path / "rows.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]
    with (tmp_path / "rows.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 6
    assert lines[3] == {
        "layer": "layer1",
        "groups": "2",
        "parameters": "2000",
        "change": "4 bits",
        "images": "200",
        "correct_before": "100",
        "correct": "71",
        "right_to_wrong": "31",
        "wrong_to_right": "2",
        "drop_points": "14.5000",
        "p_value": f"{mcnemar(31, 2):.4g}",
    }
    assert lines == [{name: str(value) for name, value in row.items()} for row in found.csv_rows()]


@pytest.mark.parametrize(("layer_count", "height"), [(1, 300), (54, 1100)])
def test_plot(tmp_path, layer_count, height):
    pytest.importorskip("matplotlib")
    found = Sensitivity("some", 200, 100, some_rows(layer_count))
    found.plot(tmp_path / "drops.png")
    image = tf.io.decode_png((tmp_path / "drops.png").read_bytes()).numpy()
    assert image.shape[0] >= height


def test_the_plot_names_layers_in_order_and_changes(tmp_path):
    pytest.importorskip("matplotlib")
    Sensitivity("some", 200, 100, some_rows()).plot(tmp_path / "drops.svg")
    # Text is drawn as glyphs, and named in comments.
    text = (tmp_path / "drops.svg").read_text()
    places = [text.index(f"<!-- {word} -->") for word in ("layer0", "layer1", "layer2")]
    assert places == sorted(places)
    assert "<!-- sparsity 0.5 -->" in text
    assert "<!-- 4 bits -->" in text
    assert "some: 100 of 200 images right (50.0%), one layer changed" in text
