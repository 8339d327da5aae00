"""Benchmarks of steps and of lowerings in Keras: what they time, and what they make of it."""

import csv

import pytest

import keras_roots
from keras_roots.benchmark import accelerator, lowerings, measured, steps
from keras_roots.layers import GroupedConv2D
from keras_roots.lowering import choice
from keras_roots.lowering.measured import read
from keras_roots.lowering.passes import DIRECTIONS
from keras_roots.timing.measure import Timings
from keras_roots.topology import root
from tests.processes import python


def test_the_bound_is_what_is_left_and_dense_time_by_level_divided_by_groups():
    milliseconds = {(root(1), "ours"): 100, (0, "ours"): 80, (1, "ours"): 90, ("all", "ours"): 64}
    timings = {key: Timings((value / 1e3,)) for key, value in milliseconds.items()}
    spatial = {"a": 0, "b": 0, "c": 1}
    # Alone they save 20 and 10 ms, together 36: so 24 and 12.
    for groups, expected in (
        ({"a": 4, "b": 4, "c": 2}, 64 + 24 / 4 + 12 / 2),
        ({"a": 2, "b": 2}, 64 + 24 / 2 + 12),
        ({}, 100),
    ):
        assert steps._bound(timings, "ours", groups, spatial) == pytest.approx(expected / 1e3)


def test_levels_are_layers_that_have_equal_groups_in_all_topologies():
    groups = {root(1): {}, root(4): {"a": 4, "b": 2}, root(8): {"a": 8, "b": 4, "c": 2, "d": 2}}
    assert steps._levels(groups) == {"a": 0, "b": 1, "c": 2, "d": 2}


def test_networks_without_their_spatial_convolutions():
    model = keras_roots.RootResNet50(root=1, input_shape=(32, 32, 3))
    grouped = keras_roots.RootResNet50(root=8, input_shape=(32, 32, 3))
    names = [layer.name for layer in grouped.layers if isinstance(layer, GroupedConv2D)]
    thinner = steps._without(model, names)
    expected = model.count_params() - sum(model.get_layer(name).count_params() for name in names)
    assert thinner.count_params() == expected
    assert thinner.output_shape == model.output_shape


def test_multiply_accumulates_of_a_train_step():
    model = keras_roots.RootNIN(root=1)
    forward = keras_roots.cost(model).macs
    image = 32 * 32 * 192 * 5 * 5 * 3
    assert steps._macs(model, "forward") == forward
    assert steps._macs(model, "train") == 3 * forward - image


@pytest.mark.parametrize(("kind", "xla"), [("train", False), ("forward", True)])
def test_steps_of_all_forms(kind, xla, tmp_path):
    run = steps.steps(
        "nin", [8], kind=kind, xla=xla, image_size=16, batch_size=2, rounds=2, stock_roots=[1]
    )
    assert not run.bounds  # For its convolutions change the shape, and cannot be left out.
    forms = {"train": ["ours"], "forward": ["ours", "folded"]}[kind]
    expected = [(root(1), form) for form in ("stock", *forms)] + [(root(8), f) for f in forms]
    assert list(run.timings) == expected
    assert run.context == ("xla-cpu" if xla else "tensorflow-cpu")
    assert all(len(timings.seconds) == 2 for timings in run.timings.values())
    header, *rows = [steps.table(run).header, *steps.table(run).rows]
    assert [row[0] for row in rows] == ["dense", "root-8"]
    assert all(len(row) == len(header) for row in rows)
    measured.write_csv(tmp_path / "steps.csv", [run], {"cores": 2})
    with (tmp_path / "steps.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [(row["topology"], row["form"]) for row in written] == [
        (str(topology), form) for topology, form in expected
    ]
    row = written[-len(forms)]
    assert float(row["median_ms"]) == pytest.approx(run.median(root(8), "ours") * 1e3, abs=1e-3)
    assert int(row["macs"]) == run.macs[root(8)]


@pytest.mark.slow
def test_steps_with_their_bound_and_one_lowering_for_all():
    run = steps.steps(
        "resnet50", [8], kind="forward", image_size=32, batch_size=1, rounds=1, stock_roots=[],
        lowering_of_all="split",
    )  # fmt: skip
    assert set(run.bounds) == {(root(n), form) for n in (1, 8) for form in ("ours", "folded")}
    assert run.without_spatial.keys() == {"ours", "folded"}
    assert choice._forced.get() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "backward"}, "kind as one of: train, forward"),
        ({"rounds": 0}, "rounds of 1 or more"),
        ({"batch_size": 0}, "batch_size of 1 or more"),
        ({"lowering_of_all": "fast"}, "Expected lowering="),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        steps.steps("nin", [8], **arguments)


def test_lowerings_of_each_pass_become_measurements(tmp_path):
    model = keras_roots.RootNIN(root=8, input_shape=(12, 12, 3))
    results = lowerings.lowerings([model], contexts=["xla-cpu"], batches=[2], rounds=1)
    grouped = [each for each in results if each.measurement.shape.groups == 8]
    assert [each.measurement.direction for each in grouped] == list(DIRECTIONS)
    for each in grouped:
        wanted = each.measurement
        names = choice.candidates(wanted.shape, "xla-cpu", wanted.direction)
        assert list(each.timings) == ["nothing", *names, "dense"]
        assert list(each.measurement.milliseconds) == names
    lowerings.measurements(results).write(tmp_path / "measured.json")
    written = read(tmp_path / "measured.json")
    assert len(written.rows) == len(results)
    table = lowerings.table(results)
    assert sum("*" in row[5] for row in table.rows) == len(results)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contexts": ["accelerator"]}, "This machine has the contexts tensorflow-cpu, xla-cpu"),
        ({"rounds": 0}, "rounds of 1 or more"),
        ({"batches": [0]}, "batches of 1 or more"),
    ],
)
def test_bad_arguments_of_lowerings(arguments, message):
    with pytest.raises(ValueError, match=message):
        lowerings.lowerings([keras_roots.RootNIN(root=8)], **arguments)


def test_networks_that_have_nothing_to_choose():
    import keras

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(ValueError, match="no layer of several lowerings"):
        lowerings.lowerings([model])


@pytest.mark.slow
def test_an_interrupted_run_for_an_accelerator_goes_on(tmp_path):
    def run():
        return list(
            accelerator.accelerator(
                "nin", [8], tmp_path, batches=[1], dtypes=["float32"],
                data_formats=["channels_last"], kinds=["forward"], image_size=12, rounds=1,
            )
        )  # fmt: skip

    names = [f"forward_float32_channels_last_batch-1_{name}.csv" for name in accelerator.LOWERINGS]
    done = run()
    assert [path.name for _, path in done] == ["layers.csv", *names]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["layers.csv", "layers.json", *names]
    )
    (tmp_path / names[1]).unlink()
    assert [path.name for _, path in run()] == [names[1]]


JAX = """
import sys
from keras_roots.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_all_of_it_on_jax_without_tensorflow(tmp_path):
    """As on a machine whose GPU TensorFlow cannot see; goes on where it was interrupted."""
    pytest.importorskip("jax")
    program = f"import sys; sys.modules['tensorflow'] = None{JAX}"
    arguments = [
        *("benchmark", "accelerator", "nin", "--root", "8", "--image-size", "12"),
        *("--batch-size", "2", "--precision", "bfloat16", "--kind", "forward"),
        *("--rounds", "1", "-o", str(tmp_path)),
    ]
    for _ in range(2):
        printed = python(program, *arguments, KERAS_BACKEND="jax")
        files = sorted(path.name for path in tmp_path.iterdir())
        assert len(files) == 2 + 2 * len(accelerator.LOWERINGS)
    assert printed == ""
    assert {row.batch for row in read(tmp_path / "layers.json").rows} == {2}
