"""The parts of a sweep that need no training; test_sweep_runs has the others."""

import csv
import dataclasses
import re
import statistics

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from keras_roots import topology
from keras_roots.paper.results import RESULTS
from keras_roots.sweep import PAPER, Experiment, comparison, figures, rows
from keras_roots.sweep.experiment import identity, parsed_networks
from keras_roots.training import Config

BASE = Config(model="nin", dataset="cifar10", image_size=32, resize=32, epochs=8)
PREPARED = {
    "data": {"classes": 10, "train_images": 50_000, "validation_images": 10_000, "files": "a-b"},
    "data_name": "cifar10/3.0.2",
    "backend": "tensorflow",
}


def row(network="dense", seed=0, top1=0.85, **values):
    counts = {"dense": (966_986, 222_487_946), "root-8": (314_954, 103_343_498)}
    parameters, macs = counts.get(network, (300_000, 100_000_000))
    whole = {
        "parameters": parameters,
        "macs": macs,
        "epochs": 8,
        "updates": 3125,
        "images": 10_000,
        "top5": 0.99,
        "loss": 0.5,
        "training_top1": 0.9,
        "training_loss": 0.4,
        "images_per_second": 250.0,
        "training_seconds": 1600.0,
        "date": "2026-11-25",
        "backend": "tensorflow",
        "device": "1 replica on CPU",
        "precision": "bfloat16",
        "configuration": "01234567",
    }
    return rows.Row(network=network, seed=seed, top1=top1, **{**whole, **values})


def test_all_networks_come_with_the_first_seed_before_the_second():
    found = Experiment(BASE, ("dense", "root-8"), (0, 1)).runs
    assert [run.name for run in found] == [
        *("dense-seed-0", "root-8-seed-0", "dense-seed-1", "root-8-seed-1"),
    ]
    assert [(run.config.root, run.config.seed) for run in found] == [
        *(("root-1", 0), ("root-8", 0), ("root-1", 1), ("root-8", 1)),
    ]
    varied = {"root", "seed", "name"}
    for run in found:
        same = dataclasses.replace(run.config, **{name: getattr(BASE, name) for name in varied})
        assert same == BASE


def test_the_papers_networks_are_those_that_it_reports():
    assert set(PAPER) == set(RESULTS["nin"])
    assert parsed_networks(["paper"]) == PAPER
    assert parsed_networks(["8", "root-8", "1", "degrees-4-2"]) == (
        "root-8",
        "dense",
        "degrees-4-2",
    )


@pytest.mark.parametrize(
    ("networks", "seeds", "message"),
    [
        ((), (0,), "one network or more"),
        (("dense",), (), "one seed or more"),
        (("dense", "root-1"), (0,), "dense twice"),
        (("dense",), (3, 3), "3 twice"),
        (("root-3",), (0,), "power of two"),
        (("tall-3",), (0,), "expected 16, column-8"),
        (("dense",), (-1,), "seed of 0 or more"),
    ],
)
def test_what_is_no_experiment(networks, seeds, message):
    with pytest.raises(ValueError, match=message):
        Experiment(BASE, networks, seeds)


def test_a_sweep_does_not_end_early():
    with pytest.raises(ValueError, match="max_steps"):
        Experiment(dataclasses.replace(BASE, max_steps=5), ("dense",), (0,))


def test_what_tells_one_sweep_from_another():
    common = Experiment(BASE, ("dense",), (0,)).common()
    first = identity(common, PREPARED["data"], "tensorflow")
    assert re.fullmatch(r"[0-9a-f]{8}", first)
    same = dataclasses.replace(BASE, root="4", seed=7, name="other", data_dir="elsewhere")
    common_too = Experiment(same, ("root-8",), (5,)).common()
    assert identity(common_too, PREPARED["data"], "tensorflow") == first
    longer = Experiment(dataclasses.replace(BASE, epochs=9), ("dense",), (0,)).common()
    others = {
        identity(longer, PREPARED["data"], "tensorflow"),
        identity(common, {**PREPARED["data"], "train_images": 49_999}, "tensorflow"),
        identity(common, PREPARED["data"], "jax"),
    }
    assert len(others | {first}) == 4


@given(
    st.lists(
        st.builds(
            row,
            network=st.sampled_from(PAPER),
            seed=st.integers(0, 99),
            top1=st.floats(0, 1),
            loss=st.floats(0, allow_nan=False, allow_infinity=False),
            device=st.text(st.characters(codec="utf-8", exclude_characters="\0\r")),
        ),
        max_size=4,
    )
)
def test_rows_are_read_as_they_were_written(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("rows") / "results.csv"
    rows.write(path, written)
    assert rows.read(path, "01234567") == written


def test_there_need_be_no_results(tmp_path):
    assert rows.read(tmp_path / "results.csv", "01234567") == []


def test_results_of_another_configuration_are_refused(tmp_path):
    path = tmp_path / "results.csv"
    rows.write(path, [row(), row(seed=1, configuration="fedcba98")])
    with pytest.raises(ValueError, match="another configuration.*fedcba98, and this is 01234567"):
        rows.read(path, "01234567")


@pytest.mark.parametrize("change", ["column", "number", "cut", "bytes"])
def test_what_is_no_results(tmp_path, change):
    path = tmp_path / "results.csv"
    rows.write(path, [row()])
    text = path.read_text(encoding="utf-8")
    if change == "bytes":
        path.write_bytes(b"\xff\xfe\x00")
    else:
        path.write_text(
            {
                "column": text.replace("top5", "top6"),
                "number": text.replace("966986", "many"),
                "cut": text[: text.rindex("bfloat16")],
            }[change],
            encoding="utf-8",
        )
    with pytest.raises(ValueError, match="is not as a sweep wrote it"):
        rows.read(path, "01234567")


def compared(*found):
    return comparison.compare(found, BASE, PREPARED)


def test_means_and_deviations_are_those_of_numpy():
    accuracies = [0.851, 0.857, 0.846, 0.86]
    found = compared(*(row(seed=n, top1=value) for n, value in enumerate(accuracies)))
    (score,) = found.scores
    assert score.mean == pytest.approx(100 * np.mean(accuracies))
    assert score.deviation == pytest.approx(100 * np.std(accuracies, ddof=1))
    assert compared(row()).scores[0].deviation is None


@given(
    st.lists(st.integers(8000, 9000), min_size=2, max_size=6),
    st.lists(st.integers(8000, 9000), min_size=2, max_size=6),
)
def test_the_interval_of_a_difference_is_welchs(first, second):
    found = comparison.difference(
        [row(top1=value / 10_000) for value in first],
        [row(top1=value / 10_000) for value in second],
    )
    if len(set(first)) == 1 or len(set(second)) == 1:  # Of which SciPy warns.
        assert (found is None) == (len(set(first)) == len(set(second)) == 1)
        return
    percent = (np.array(values) / 100 for values in (first, second))
    expected = stats.ttest_ind(*percent, equal_var=False).confidence_interval(0.95)
    assert found == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)


def test_no_interval_of_one_run():
    assert comparison.difference([row()], [row(top1=0.8), row(top1=0.81)]) is None


def test_the_table_stands_beside_the_papers():
    found = compared(
        *(row("root-8", n, value) for n, value in enumerate((0.861, 0.865))),
        *(row("dense", n, value) for n, value in enumerate((0.85, 0.86))),
        row("degrees-4-2", 0, 0.8),
    )
    header, dense, root, explicit = list(csv.reader(found.table().csv().splitlines()))
    cells = {cell[0]: dict(zip(header, cell, strict=True)) for cell in (dense, root, explicit)}
    assert cells["dense"]["top-1, %"] == f"85.50 ± {statistics.stdev((85, 86)):.2f}"
    assert cells["dense"]["minus dense, points"] == ""
    assert cells["root-8"]["parameters"] == "314,954 (33%)"
    assert cells["root-8"]["MACs"] == "103,343,498 (46%)"
    assert cells["root-8"]["minus dense, points"].startswith("+0.80 (")
    # Of the paper: 92.11 dense, 92.15 root-8.
    assert cells["dense"]["the paper's top-1, %"] == "92.11 ± 0.13"
    assert cells["root-8"]["the paper's top-1, %"] == "92.15"
    assert cells["root-8"]["the paper's minus dense"] == "+0.04"
    assert cells["degrees-4-2"]["the paper's top-1, %"] == ""
    assert cells["degrees-4-2"]["minus dense, points"] == "-5.50"  # Of one run: no interval.


def test_the_paper_is_not_compared_with_on_other_data():
    other = {**PREPARED, "data_name": "imagenette"}
    assert not comparison.compare([row()], BASE, other).has_paper
    part = {**PREPARED, "data": {**PREPARED["data"], "train_images": 10_000}}
    assert not comparison.compare([row()], BASE, part).has_paper
    of_resnet = dataclasses.replace(BASE, model="resnet50")
    assert not comparison.compare([row()], of_resnet, PREPARED).has_paper
    imagenet = {**PREPARED, "data": {**PREPARED["data"], "classes": 1000}}
    assert comparison.compare([row()], of_resnet, imagenet).has_paper


def test_networks_are_in_the_papers_order():
    names = [*PAPER, "degrees-2-2"]
    shuffled = np.random.default_rng(0).permutation(names)
    found = compared(*(row(str(name)) for name in shuffled))
    assert [score.network for score in found.scores] == names


def test_text_of_topologies_can_be_read_back():
    for name in (*PAPER, "degrees-16-8-4"):
        parsed = topology.parse(name)
        assert topology.parse(str(parsed)) == parsed
    assert topology.parse("dense") == topology.root(1)
    assert topology.parse("degrees-16-8-4").first_degrees == (16, 8, 4)


@pytest.mark.parametrize("networks", [("dense",), ("root-8",), ("dense", "root-8", "degrees-4-2")])
def test_pictures_are_drawn_of_any_networks(tmp_path, networks):
    found = compared(*(row(name, seed, 0.8 + seed / 50) for name in networks for seed in (0, 1)))
    figures.error(found, tmp_path / "error.png")
    image = tf.io.decode_png((tmp_path / "error.png").read_bytes(), channels=3).numpy()
    blue = (image == (0x1F, 0x6F, 0xB2)).all(axis=-1)
    assert blue.any() == ("root-8" in networks)
    assert (image == 0).all(axis=-1).any()
    figures.learning_curves(found, tmp_path, tmp_path / "curves.png")  # Of no histories.
    assert tf.io.decode_png((tmp_path / "curves.png").read_bytes()).shape[0] > 400
