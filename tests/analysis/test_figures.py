"""What an analysis found, as tables, figures and a folder."""

import csv
import dataclasses
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_roots.analysis import Analysis, Correlation, Covariance, Filters, blocks, figures, folder
from keras_roots.analysis.results import correlation_table, covariance_table
from keras_roots.cost import cost
from tests.sample_models import small_model


def filters(groups=2, channels=3):
    strength = np.kron(np.eye(groups), np.ones((8 // groups, 1))) if groups else np.zeros((8, 0))
    kernels = np.random.default_rng(0).normal(size=(3, 3, channels, 8)).astype(np.float32)
    return Filters("conv1", kernels, "conv2" if groups else None, strength)


def found(name="grouped", groups=4, seed=0):
    rng = np.random.default_rng(seed)
    blocks_ = np.kron(np.eye(groups), np.ones((8 // groups, 16 // groups)))
    matrix = rng.normal(size=(8, 16)) * (0.02 + 0.2 * blocks_)
    correlations = np.clip(rng.normal(size=(16, 16)) / 4, -1, 1)
    correlations = np.tril(correlations) + np.tril(correlations, -1).T
    correlations[3] = correlations[:, 3] = np.nan
    return Analysis(
        model=name,
        images=1234,
        covariances=(
            Covariance("conv1", "conv2", groups, 9999, (9999, 319), matrix, (1, 0), (0, 2)),
        ),
        correlations=(
            Correlation("conv2", groups, 9999, correlations, 0.3, 0.2 if groups > 1 else math.nan),
        ),
        filters=filters(groups if groups > 1 else 0),
    )


def test_tables_of_two_networks_side_by_side():
    dense, grouped = found("dense", 1, seed=1), found()
    header, *rows = csv.reader(covariance_table([dense, grouped]).csv().splitlines())
    rows = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["network"] for row in rows] == ["dense", "grouped"]
    assert [row["groups"] for row in rows] == ["1", "4"]
    assert [row["groups found"] for row in rows] == ["1", "4"]
    # The dense network is measured by the other's blocks.
    assert [row["blocks"] for row in rows] == ["4", "4"]
    for row, analysis in zip(rows, (dense, grouped), strict=True):
        matrix = analysis.covariances[0].matrix
        assert float(row["share in blocks"]) == pytest.approx(blocks.share(matrix, 4), abs=1e-3)
        assert float(row["contrast"]) == pytest.approx(blocks.contrast(matrix, 4), abs=1e-2)
        assert (row["channels"], row["filters"], row["1/blocks"]) == ("8", "16", "0.250")
    header, row = csv.reader(dense.table().csv().splitlines())
    assert row[header.index("blocks") :] == ["1", "", "", ""]
    header, *rows = csv.reader(correlation_table([dense, grouped]).csv().splitlines())
    assert [row[-2:] for row in rows] == [["0.300", ""], ["0.300", "0.200"]]
    assert dense.notes() == [
        "conv1: 1 of 8 filters never respond",
        "conv2: 2 of 16 filters depend on others",
        "conv2: 319 pixels for 16 filters are few, so that chance has a part in its covariance; "
        "give more images",
    ]


def test_pictures_of_filters():
    kernels = np.zeros((2, 2, 1, 3), np.float32)
    kernels[0, 1, 0, 0], kernels[1, 1, 0, 0] = 4, -2
    kernels[..., 1] = -1e-3
    pictures = figures.pictures_of(kernels)
    assert pictures.shape == (3, 2, 2, 3)
    assert np.array_equal(pictures[0, :, :, 0], [[0.5, 1], [0.5, 0.25]])
    assert np.allclose(pictures[1], 0)
    assert np.allclose(pictures[2], 0.5)


def image_of(path):
    return tf.io.decode_png(path.read_bytes(), channels=3).numpy().astype(int)


def test_the_heat_map_shows_the_matrix(tmp_path):
    pytest.importorskip("matplotlib")
    grouped = found()
    exact = np.kron(np.eye(2), np.ones((4, 8)))
    covariance = dataclasses.replace(grouped.covariances[0], matrix=exact, groups=2)
    grouped = dataclasses.replace(grouped, covariances=(covariance,))
    figures.plot_covariance(tmp_path / "a.png", [grouped], "conv1", "conv2")
    brightness = image_of(tmp_path / "a.png").sum(axis=2)
    # Within the axes, left of the colour bar: the blocks are bright and the rest is black.
    rows, columns = np.nonzero(brightness < 40)
    inside = (columns < 0.7 * brightness.shape[1]) & (columns > 0.15 * brightness.shape[1])
    rows, columns = rows[inside], columns[inside]
    middle = np.median(np.unique(rows)), np.median(np.unique(columns))
    is_upper, is_left = rows < middle[0] - 5, columns < middle[1] - 5
    black = [np.sum(is_upper & is_left), np.sum(is_upper & ~is_left)]
    assert black[1] > 20 * max(1, black[0])


def test_text_in_figures(tmp_path):
    pytest.importorskip("matplotlib")
    dense, grouped = found("net1/model", 1), found("net8/model")
    figures.plot_covariance(tmp_path / "a.svg", [dense, grouped], "conv1", "conv2")
    text = (tmp_path / "a.svg").read_text()
    share = blocks.share(grouped.covariances[0].matrix, 4)
    for words in (
        "net1/model: no groups, none found",
        "net8/model: 4 groups, 4 found",
        f"{share:.1%} of the squares in 4 blocks (25.0% if no different)",
        "conv1 and conv2: 1,234 images",
        "conv2, filter",
        "conv1, channel",
    ):
        assert f"<!-- {words} -->" in text
    figures.plot_correlation(tmp_path / "b.svg", [dense, grouped], "conv2")
    text = (tmp_path / "b.svg").read_text()
    assert "mean within 0.300, between 0.200" in text
    assert "mean 0.300" in text
    figures.plot_filters(tmp_path / "c.svg", filters(), "net8/model")
    text = (tmp_path / "c.svg").read_text()
    assert "net8/model: the 8 filters of conv1" in text
    assert "a row for what each of the 2 groups of conv2 reads" in text
    for function in (figures.plot_covariance, figures.plot_correlation):
        names = ("conv1", "zzz")[-1 if function is figures.plot_correlation else 0 :]
        with pytest.raises(ValueError, match="Nothing was analysed by the name of"):
            function(tmp_path / "d.png", [dense], *names)
    with pytest.raises(ValueError, match="one channel or three.*'conv1', of 4"):
        figures.plot_filters(tmp_path / "d.png", filters(channels=4), "net")
    assert len(list(tmp_path.iterdir())) == 3


def test_the_rows_of_the_picture_of_filters(tmp_path):
    pytest.importorskip("matplotlib")
    of_groups = {}
    for groups in (1, 2, 4, 8):
        figures.plot_filters(tmp_path / "a.png", filters(groups if groups > 1 else 0), "net")
        of_groups[groups] = image_of(tmp_path / "a.png").shape[0]
    assert of_groups[2] < of_groups[4] < of_groups[8]


def test_the_folder(tmp_path):
    pytest.importorskip("matplotlib")
    dense, grouped = found("net1/model", 1), found("net8/model")
    small = cost(small_model())
    costs = [dataclasses.replace(small, macs=1, model="net8/model"), small]
    said = []
    odd = dataclasses.replace(grouped, model="odd", filters=filters(channels=5))
    none = dataclasses.replace(grouped, model="none", filters=None)
    folder.write(
        tmp_path,
        [dense, grouped, odd, none],
        costs=costs,
        conditions={"data": "pictures"},
        suffix="svg",
        report=said.append,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "arrays.npz",
        "correlation-conv2.svg",
        "correlation.csv",
        "covariance-conv1--conv2.svg",
        "filters-net1-model.svg",
        "filters-net8-model.svg",
        "savings.svg",
        "summary.csv",
        "summary.md",
    ]
    assert [line.partition(":")[0] for line in said] == ["odd", "none"]
    # The one of fewer multiply-accumulates is called grouped, whatever the order.
    assert "grouped: 1 -->" in (tmp_path / "savings.svg").read_text()
    text = (tmp_path / "summary.md").read_text()
    assert "- net8/model: conv1: 1 of 8 filters never respond" in text
    assert "net1/model: 1,234 images" in text
    assert "data pictures" in text
    with np.load(tmp_path / "arrays.npz", allow_pickle=False) as arrays:
        matrix = arrays["net8/model/covariance/conv1,conv2"]
        assert matrix.dtype == np.float32
        assert np.allclose(matrix, grouped.covariances[0].matrix)
        assert np.array_equal(arrays["net8/model/filter_groups/conv1"], np.repeat(range(4), 2))
        assert set(arrays["net1/model/filter_groups/conv1"]) == {-1}
        assert np.isnan(arrays["net1/model/correlation/conv2"][3]).all()
    with pytest.raises(ValueError, match="different names. Received: net1/model, net1/model"):
        folder.write(tmp_path, [dense, dense])
    with pytest.raises(ValueError, match="png, pdf, svg. Received: 'jpg'"):
        folder.write(tmp_path, [dense], suffix="jpg")


def test_figures_of_names_that_look_alike(tmp_path):
    pytest.importorskip("matplotlib")
    one = found()
    (covariance,) = one.covariances
    pairs = [("a/b", "c"), ("a b", "c"), ("A-b", "c")]
    several = tuple(dataclasses.replace(covariance, first=a, second=b) for a, b in pairs)
    folder.write(tmp_path, [dataclasses.replace(one, covariances=several)], suffix="pdf")
    names = sorted(path.name for path in tmp_path.glob("covariance-*"))
    assert names == ["covariance-A-b--c-3.pdf", "covariance-a-b--c-2.pdf", "covariance-a-b--c.pdf"]


def test_costs_of_a_model_that_leaves_its_size_open():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, padding="same")(inputs))
    counted = folder.named_cost(model, "some/model", (6, 5, 3))
    assert (counted.model, counted.macs) == ("some/model", 6 * 5 * 3 * 3 * 3 * 4)
