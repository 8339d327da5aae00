"""The lowering that a layer gets in a file, and the measurements that it comes from."""

import dataclasses
import json

import keras
import pytest

import keras_roots
from keras_roots.export import choice, tuning
from keras_roots.export.inference_graph import inference_graph
from keras_roots.export.simplify import simplify


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "keras_roots" / "lowerings.json"


def small_graph(groups=4, channels=8, size=6):
    inputs = keras.Input((size, size, channels))
    x = keras.layers.Conv2D(channels, 3, padding="same", groups=groups, name="grouped")(inputs)
    x = keras.layers.Conv2D(channels, 3, padding="same", groups=groups, name="other")(x)
    return inference_graph(keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x)))


def layer_shape(groups, channels=64, filters=64, size=56, kernel=3, stride=1):
    return tuning.LayerShape(
        input_shape=(size, size, channels),
        filters=filters,
        kernel_size=(kernel, kernel),
        strides=(stride, stride),
        dilation_rate=(1, 1),
        padding=((1, 1), (1, 1)),
        groups=groups,
    )


def lowerings(choices):
    return {each.layer: each.lowering for each in choices}


@pytest.fixture(scope="module", name="resnet")
def make_resnet():
    return {
        root: simplify(inference_graph(keras_roots.RootResNet50(root=root))) for root in (1, 16, 64)
    }


def test_every_layer_of_the_measured_networks_is_chosen_by_its_own_measurement(resnet):
    for root, graph in resnet.items():
        for precision in ("float32", "int8"):
            choices = choice.choose(graph, precision)
            assert len(choices) == 1 + 16 * (root > 1)
            for each in choices:
                row = tuning.read(tuning.MEASURED).find(precision, 1, each.shape)
                times = row.milliseconds
                best = min(times.values())
                assert times[each.lowering] <= best * 1.03
                assert f"measured with {each.shape}" in each.reason


def test_narrow_groups_are_packed_and_int8s_first_convolution_folded(resnet):
    chosen = lowerings(choice.choose(resnet[16], "int8"))
    assert chosen["conv1_conv"] == "folded"
    assert chosen["conv2_block1_2_conv"] in ("packed-8", "packed-4")
    assert chosen["conv5_block1_2_conv"] == "native"
    assert lowerings(choice.choose(resnet[16], "float32"))["conv1_conv"] == "native"
    assert lowerings(choice.choose(resnet[64], "int8"))["conv2_block1_2_conv"] == "native"
    assert set(lowerings(choice.choose(resnet[16], "int8", "native")).values()) == {"native"}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layer_shape(3, channels=6, filters=12, kernel=5), "native"),  # Never wide enough.
        (layer_shape(6, channels=12, filters=24, kernel=5), "packed-1"),
        (layer_shape(12, channels=24, filters=24, kernel=5), "packed-3"),
        (layer_shape(4, channels=40, filters=40, kernel=5), "native"),
        (layer_shape(8, channels=8, filters=16, kernel=5), "native"),
        (layer_shape(1, channels=2, kernel=5), "folded"),
    ],
)
def test_layers_unlike_all_that_were_measured(layer, expected):
    nothing = tuning.Measurements({}, ())
    chosen = choice._similar_choice("layer", layer, nothing, "int8")
    assert chosen.lowering == expected
    assert chosen.reason.startswith("by rule")


def test_a_similar_layer_decides_on_the_number_of_merged_groups():
    row = tuning.Measurement(
        "int8", 1, layer_shape(16), {"native": 3.0, "packed-4": 1.0, "packed-8": 2.0}
    )
    measured = tuning.Measurements({}, (row,))
    for groups, expected in ((16, "packed-4"), (48, "packed-12"), (6, "packed-3"), (3, "native")):
        layer = layer_shape(groups, channels=4 * groups, filters=4 * groups, size=20)
        assert choice._similar_choice("layer", layer, measured, "int8").lowering == expected


def test_native_is_preferred_unless_another_is_faster_by_more_than_noise():
    assert choice.fastest({"native": 1.02, "packed-2": 1.0}) == "native"
    assert choice.fastest({"native": 1.05, "packed-2": 1.0}) == "packed-2"


def test_tuned_measures_on_this_machine_once(cache):
    lines = []
    choices = choice.choose(small_graph(), "float32", "tuned", report=lines.append)
    # Two layers of one shape.
    assert [line.startswith("measuring layer 1 of 1") for line in lines] == [True]
    assert all("measured on this machine" in each.reason for each in choices)
    measured = tuning.read(cache)
    assert measured.of_this_machine()
    (row,) = measured.rows
    assert set(row.milliseconds) == {"native", "packed-1", "packed-2"}
    assert lowerings(choices)["grouped"] == choice.fastest(row.milliseconds)
    assert choice.choose(small_graph(), "float32", "tuned", report=lines.append) == choices
    assert len(lines) == 1
    choice.choose(small_graph(groups=2), "float32", "tuned", report=lines.append)
    assert len(lines) == 2
    assert len(tuning.read(cache).rows) == 2
    assert [path.name for path in cache.parent.iterdir()] == ["lowerings.json"]


def test_a_cache_of_another_machine_or_version_is_ignored_and_said(cache):
    choice.choose(small_graph(), "float32", "tuned")
    content = json.loads(cache.read_text())
    content["conditions"]["ai-edge-litert"] = "0.0"
    cache.write_text(json.dumps(content))
    lines = []
    choice.choose(small_graph(), "float32", "tuned", report=lines.append)
    assert "of another machine or version" in lines[0]
    assert lines[1].startswith("measuring")
    assert tuning.read(cache).of_this_machine()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"format": 2, "conditions": {}, "measurements": []}',
        '{"format": 1, "conditions": {}, "measurements": [{"precision": "int8"}]}',
        '{"format": 1, "conditions": {}, "measurements": 3}',
        "\x00\x01",
    ],
)
def test_a_corrupt_cache_is_ignored_said_and_replaced(cache, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    lines = []
    choice.choose(small_graph(), "float32", "tuned", report=lines.append)
    assert "the cache of measurements is not used" in lines[0]
    assert "is no file of measurements" in lines[0]
    assert len(tuning.read(cache).rows) == 1


def test_times_that_are_none_are_refused(tmp_path):
    row = tuning.Measurement("int8", 1, layer_shape(4), {"native": float("nan")})
    tuning.Measurements({}, (row,)).write(tmp_path / "a.json")
    with pytest.raises(ValueError, match="expected times above 0"):
        tuning.read(tmp_path / "a.json")


def test_an_unwritable_cache_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    lines = []
    choices = choice.choose(small_graph(), "float32", "tuned", report=lines.append)
    assert len(choices) == 2
    assert "cannot be kept" in lines[-1]


def test_measurements_are_read_as_written(tmp_path):
    rows = tuple(
        tuning.Measurement(precision, 2, layer_shape(4), {"native": 0.5, "packed-2": 0.25})
        for precision in ("float32", "int8")
    )
    measured = tuning.Measurements({"processor": "one"}, rows)
    measured.write(tmp_path / "a.json")
    assert tuning.read(tmp_path / "a.json") == measured
    assert measured.find("int8", 2, layer_shape(4)) is rows[1]
    assert measured.find("int8", 1, layer_shape(4)) is None
    assert measured.find("int8", 2, dataclasses.replace(layer_shape(4), filters=8)) is None
    assert not measured.of_this_machine()


def test_an_unknown_lowering():
    with pytest.raises(ValueError, match=r"lowering as one of: auto, tuned, native\. .*'fast'"):
        choice.choose(small_graph(), "float32", "fast")


def test_a_layer_in_words():
    assert str(layer_shape(16)) == "56x56x64, 3x3, 64 filters in 16 groups"
    assert str(layer_shape(1, stride=2)) == "56x56x64, 3x3/2x2, 64 filters"
