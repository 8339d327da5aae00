"""The lowering that a layer gets in Keras and in a file, and what it is measured by."""

import dataclasses
import json

import keras
import pytest

import keras_roots
from keras_roots.export import choice as files
from keras_roots.export.inference_graph import inference_graph
from keras_roots.export.simplify import simplify
from keras_roots.lowering import choice, measured, tuning
from keras_roots.lowering.contexts import CONTEXTS
from keras_roots.lowering.layer_shape import LayerShape
from keras_roots.lowering.measured import Measurement, Measurements
from keras_roots.lowering.passes import DIRECTIONS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "keras_roots" / "lowerings.json"


@pytest.fixture(name="bring")
def make_bring(monkeypatch):
    """Sets the measurements that come with the package."""

    def bring(*rows):
        monkeypatch.setattr(measured, "brought", lambda: Measurements({}, rows))
        choice._choose.cache_clear()

    yield bring
    choice._choose.cache_clear()


def small_graph(groups=4, channels=8, size=6):
    inputs = keras.Input((size, size, channels))
    x = keras.layers.Conv2D(channels, 3, padding="same", groups=groups, name="grouped")(inputs)
    x = keras.layers.Conv2D(channels, 3, padding="same", groups=groups, name="other")(x)
    return inference_graph(keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x)))


def layer_shape(groups, channels=64, filters=None, size=56, kernel=3, stride=1):
    return LayerShape(
        input_shape=(size, size, channels),
        filters=filters or channels,
        kernel_size=(kernel, kernel),
        strides=(stride, stride),
        dilation_rate=(1, 1),
        padding=((kernel // 2,) * 2,) * 2,
        groups=groups,
    )


def measurement(shape, times, context="tensorflow-cpu", direction="forward", threads=None):
    dtype = CONTEXTS[context].dtype
    batch = 8 if threads is None else 1
    return Measurement(context, direction, batch, threads, dtype, "channels_last", shape, times)


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
            choices = files.choose(graph, precision)
            assert len(choices) == 1 + 16 * (root > 1)
            for each in choices:
                wanted = measurement(each.shape, {}, f"litert-{precision}", threads=1)
                times = measured.brought().find(wanted).milliseconds
                assert times[each.lowering] <= min(times.values()) * 1.03
                assert f"measured with {each.shape}" in each.reason


def test_narrow_groups_are_packed_and_int8s_first_convolution_folded(resnet):
    chosen = lowerings(files.choose(resnet[16], "int8"))
    assert chosen["conv1_conv"] == "folded"
    assert chosen["conv2_block1_2_conv"] in ("packed-8", "packed-4")
    assert chosen["conv5_block1_2_conv"] == "native"
    assert lowerings(files.choose(resnet[16], "float32"))["conv1_conv"] == "native"
    assert lowerings(files.choose(resnet[64], "int8"))["conv2_block1_2_conv"] == "native"
    assert set(lowerings(files.choose(resnet[16], "int8", "native")).values()) == {"native"}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (layer_shape(3, channels=6, filters=12, kernel=5), "native"),  # Never wide enough.
        (layer_shape(6, channels=12, filters=24, kernel=5), "packed-1"),
        (layer_shape(12, channels=24, filters=24, kernel=5), "packed-3"),
        (layer_shape(4, channels=40, filters=40, kernel=5), "native"),
        (layer_shape(8, channels=8, filters=16, kernel=5), "native"),
        (layer_shape(1, channels=2, filters=64, kernel=5), "folded"),
    ],
)
def test_rules_of_files(bring, layer, expected):
    bring()
    chosen = choice.choose(layer, "litert-int8")
    assert chosen.lowering == expected
    assert chosen.reason.startswith("by rule")


@pytest.mark.parametrize(
    ("groups", "channels", "expected"),
    [
        (16, 64, ("taps", "taps", "packed-4-split")),
        (8, 64, ("packed-4-split", "packed-4-split", "packed-4-split")),
        (4, 128, ("split", "split", "split")),
        (2, 6, ("taps", "taps", "packed-1-split")),
    ],
)
def test_rules_under_xla(bring, groups, channels, expected):
    bring()
    shape = layer_shape(groups, channels, size=9, kernel=5)
    assert tuple(choice.choose(shape, "xla-cpu", each).lowering for each in DIRECTIONS) == expected


@pytest.mark.parametrize(("context", "threads"), [("tensorflow-cpu", None), ("litert-int8", 1)])
def test_the_choice_is_the_fastest_of_the_most_similar_layer(bring, context, threads):
    def row(size, channels, groups, **milliseconds):
        times = {name.replace("_", "-"): time for name, time in milliseconds.items()}
        return measurement(layer_shape(groups, channels, size=size), times, context, "forward",
                           threads)  # fmt: skip

    bring(
        row(56, 64, 16, native=3.0, packed_4=2.0),
        row(14, 64, 16, native=1.0, packed_4=0.99),  # Nearer, and faster by less than noise.
        row(28, 32, 16, native=1.0, packed_4=0.1),  # Two channels a group.
        row(28, 96, 8, native=1.0, packed_2=0.5),  # Twelve.
    )

    def chosen(size, channels, groups):
        return choice.choose(layer_shape(groups, channels, size=size), context)

    assert chosen(56, 64, 16).lowering == "packed-4"
    assert "packed-4 2.000 ms, native 3.000 ms, measured" in chosen(56, 64, 16).reason
    assert chosen(20, 64, 16).lowering == "native"
    assert chosen(28, 48, 24).lowering == "packed-6"  # Four groups become one there too.
    assert chosen(28, 48, 4).lowering == "packed-1"
    assert "by rule" in chosen(28, 64, 4).reason  # Sixteen a group: nothing like it.
    other = "kernel_gradient" if threads is None else "forward"
    other_context = context if threads is None else "litert-float32"
    assert "by rule" in choice.choose(layer_shape(16), other_context, other).reason
    open_size = dataclasses.replace(layer_shape(16), input_shape=(None, None, 64))
    assert choice.choose(open_size, context).lowering in ("packed-4", "native")


def test_a_similar_layer_decides_on_the_number_of_merged_groups(bring):
    times = {"native": 3.0, "packed-4": 1.0, "packed-8": 2.0}
    bring(measurement(layer_shape(16), times, "litert-int8", threads=1))
    for groups, expected in ((16, "packed-4"), (48, "packed-12"), (6, "packed-3"), (3, "native")):
        layer = layer_shape(groups, channels=4 * groups, size=20)
        for context in ("litert-int8", "litert-dynamic"):  # Which has int8's kernels.
            assert choice.choose(layer, context).lowering == expected


def test_native_is_preferred_unless_another_is_faster_by_more_than_noise():
    assert choice.fastest({"native": 1.02, "packed-2": 1.0}) == "native"
    assert choice.fastest({"native": 1.05, "packed-2": 1.0}) == "packed-2"


def test_tuned_measures_on_this_machine_once(cache):
    lines = []
    choices = files.choose(small_graph(), "float32", "tuned", report=lines.append)
    # Two layers of one shape.
    assert [line.startswith("measuring layer 1 of 1") for line in lines] == [True]
    assert all("measured on this machine" in each.reason for each in choices)
    kept = measured.read(cache)
    assert tuning.of_this_machine(kept.conditions["litert-float32"])
    (row,) = kept.rows
    assert set(row.milliseconds) == {"native", "packed-1", "packed-2"}
    assert lowerings(choices)["grouped"] == choice.fastest(row.milliseconds)
    assert files.choose(small_graph(), "float32", "tuned", report=lines.append) == choices
    assert len(lines) == 1
    files.choose(small_graph(groups=2), "float32", "tuned", report=lines.append)
    assert len(lines) == 2
    assert len(measured.read(cache).rows) == 2
    assert [path.name for path in cache.parent.iterdir()] == ["lowerings.json"]


def test_a_cache_of_another_machine_or_version_is_ignored_and_said(cache):
    for precision in ("float32", "float16"):
        files.choose(small_graph(), precision, "tuned")
    content = json.loads(cache.read_text())
    content["conditions"]["litert-float32"]["ai-edge-litert"] = "0.0"
    cache.write_text(json.dumps(content))
    lines = []
    for precision in ("float16", "float32"):  # What is measured of float16 still holds.
        files.choose(small_graph(), precision, "tuned", report=lines.append)
    assert "of another machine or version" in lines[0]
    assert lines[1].startswith("measuring")
    assert len(lines) == 2
    assert all(map(tuning.of_this_machine, measured.read(cache).conditions.values()))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "",
        # As it was before a file had the conditions of each context.
        '{"format": 1, "conditions": {}, "measurements": []}',
        '{"format": 2, "conditions": {}, "measurements": [{"context": "litert-int8"}]}',
        '{"format": 2, "conditions": {}, "measurements": 3}',
        "\x00\x01",
    ],
)
def test_a_corrupt_cache_is_ignored_said_and_replaced(cache, content):
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    with pytest.raises(ValueError, match="is no file of measurements"):
        measured.read(cache)
    lines = []
    files.choose(small_graph(), "float32", "tuned", report=lines.append)
    assert "the cache of measurements is not used" in lines[0]
    assert "is no file of measurements" in lines[0]
    assert len(measured.read(cache).rows) == 1


def test_times_that_are_none_are_refused(tmp_path):
    row = measurement(layer_shape(4), {"native": float("nan")})
    Measurements({}, (row,)).write(tmp_path / "a.json")
    with pytest.raises(ValueError, match="expected times above 0"):
        measured.read(tmp_path / "a.json")


def test_an_unwritable_cache_folder(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    lines = []
    choices = files.choose(small_graph(), "float32", "tuned", report=lines.append)
    assert len(choices) == 2
    assert "cannot be kept" in lines[-1]


def test_measurements_are_read_as_written(tmp_path):
    rows = (
        measurement(layer_shape(4), {"native": 0.5, "packed-2": 0.25}, "litert-int8", threads=2),
        measurement(layer_shape(4), {"split": 1.5}, "xla-cpu", "input_gradient"),
    )
    written = Measurements({"litert-int8": {"cores": 2}, "xla-cpu": {"cores": 4}}, rows)
    written.write(tmp_path / "a.json")
    assert measured.read(tmp_path / "a.json") == written
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert written.find(dataclasses.replace(rows[0], milliseconds={})) is rows[0]
    assert written.find(dataclasses.replace(rows[0], threads=1)) is None
    assert written.find(dataclasses.replace(rows[0], shape=layer_shape(8))) is None
    assert not tuning.of_this_machine(written.conditions["xla-cpu"])


def test_the_measurements_that_come_with_the_package():
    brought = measured.brought()
    expected = {"tensorflow-cpu", "xla-cpu", "litert-float32", "litert-int8"}
    assert {row.context for row in brought.rows} == set(brought.conditions) == expected
    assert all(each["processor"] for each in brought.conditions.values())
    for row in brought.rows:
        for name in row.milliseconds:
            assert name in choice.candidates(row.shape, row.context, row.direction)


def test_an_unknown_lowering():
    with pytest.raises(ValueError, match=r"lowering as one of: auto, tuned, native\. .*'fast'"):
        files.choose(small_graph(), "float32", "fast")


def test_a_layer_in_words():
    assert str(layer_shape(16)) == "56x56x64, 3x3, 64 filters in 16 groups"
    assert str(layer_shape(1, stride=2)) == "56x56x64, 3x3/2x2, 64 filters"
