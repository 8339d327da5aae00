import csv
import struct

import keras
import pytest

import keras_roots
from keras_roots import cost
from keras_roots.cost import report as cost_report
from keras_roots.reporting.tables import Table


@pytest.fixture(scope="module", name="costs")
def make_costs():
    return tuple(cost(keras_roots.RootNIN(root=root)) for root in (1, 8))


def test_stages_are_resolutions_and_add_up(costs):
    for each in costs:
        assert [stage.output_stride for stage in each.stages] == ["1", "2", "4"]
        assert sum(stage.macs for stage in each.stages) == each.macs
        assert sum(stage.parameters for stage in each.stages) == each.parameters
        assert sum(stage.layers for stage in each.stages) == len(each.layers)
    # Block 2 has maps of 16x16: its 5x5 in groups, and two 1x1.
    dense, grouped = (each.stages[1].macs for each in costs)
    pointwise = 16 * 16 * 2 * 192 * 192
    assert dense == 16 * 16 * 25 * 96 * 192 + pointwise
    assert grouped == 16 * 16 * 25 * (96 // 8) * 192 + pointwise


def test_a_subclassed_model_has_no_stages():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = keras.layers.Conv2D(4, 3)

        def call(self, x):
            return self.convolution(x)

    counted = cost(Subclassed(), input_shape=(8, 8, 3))
    assert [stage.output_stride for stage in counted.stages] == [""]


def test_side_by_side(costs):
    table = cost_report.by_layer(*costs)
    rows = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert rows["conv2_1_conv"]["groups"] == "8"
    assert rows["conv2_1_conv"]["MACs, dense"] == f"{16 * 16 * 25 * 96 * 192:,}"
    assert rows["conv2_1_conv"]["MACs, grouped"] == f"{16 * 16 * 25 * 12 * 192:,}"
    assert rows["conv2_1_conv"]["MACs, change"] == "-88%"
    assert rows["conv1_1_conv"]["MACs, change"] == ""
    ((*_, macs, grouped_macs, change),) = table.footer
    assert (macs, grouped_macs, change) == (f"{costs[0].macs:,}", f"{costs[1].macs:,}", "-54%")
    assert len(cost_report.by_stage(*costs).rows) == 3
    names = [row[0] for row in cost_report.total(*costs).rows]
    assert names == ["nin", "nin_root-8"]


def test_layers_that_one_network_has_not():
    inputs = keras.Input((8, 8, 4))
    first, second = (
        cost(keras.Model(inputs, keras.layers.Conv2D(4, 3, name=name)(inputs)))
        for name in ("ours", "theirs")
    )
    rows = cost_report.by_layer(first, second).rows
    assert [row[0] for row in rows] == ["ours", "theirs"]
    assert [row[5:8] for row in rows] == [("148", "unknown", ""), ("unknown", "148", "")]


def test_formats_of_a_table():
    rows = [("a", "1,000"), ("b,c", "unknown"), ("8,4,2", "7")]
    table = Table(("name", "number"), rows, left=1, footer=[("sum", "1,000")])
    assert table.text().splitlines() == [
        "name    number",
        "--------------",
        "a        1,000",
        "b,c    unknown",
        "8,4,2        7",
        "--------------",
        "sum      1,000",
    ]
    assert list(csv.reader(table.csv().splitlines())) == [
        ["name", "number"],
        ["a", "1000"],
        ["b,c", "unknown"],
        ["8,4,2", "7"],
        ["sum", "1000"],
    ]
    assert table.markdown().splitlines() == [
        "| name  |  number |",
        "|-------|--------:|",
        "| a     |   1,000 |",
        "| b,c   | unknown |",
        "| 8,4,2 |       7 |",
        "| sum   |   1,000 |",
    ]


def test_the_plot_of_two_and_of_one(costs, tmp_path):
    cost_report.plot(tmp_path / "bars.png", *costs)
    content = (tmp_path / "bars.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 800
    assert height >= 800
    cost_report.plot(tmp_path / "bars.svg", costs[0])
    assert "<svg" in (tmp_path / "bars.svg").read_text()
